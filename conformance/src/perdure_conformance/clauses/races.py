"""RACE-2 to RACE-7: pairs of calls for one instance that overlap at every moment."""

from __future__ import annotations

from perdure.contract import (
    DELETION,
    RECOVERY,
    ActivityRelease,
    MessageKind,
    NewChild,
    ParkedMark,
    TurnRelease,
)

from perdure_conformance.bench import Bench
from perdure_conformance.check import check
from perdure_conformance.clauses.overlapping import BRIEF, Overlap, sweep
from perdure_conformance.clauses.scenes import Scene
from perdure_conformance.comparison.requests import (
    ActivityRenewal,
    Deletion,
    Request,
    TurnRenewal,
)
from perdure_conformance.samples import (
    AGAIN,
    COMPLETED,
    LEASE,
    reopening,
    restart,
    result,
    termination,
)

Pair = tuple[Request, Request]
MARK = ParkedMark(reason="stalled", details="stalled")


async def send_and_create(scene: Scene) -> Pair:
    return scene.event(), scene.new()


async def send_and_lease(scene: Scene) -> Pair:
    await scene.idle()
    return scene.event(), scene.look()


async def send_and_commit(scene: Scene) -> Pair:
    token = await scene.leased()
    return scene.event(), scene.commit(token)


async def send_and_kept_commit(scene: Scene) -> Pair:
    token = await scene.leased()
    return scene.event(), scene.commit(token, keep_for=LEASE)


async def send_and_release(scene: Scene) -> Pair:
    token = await scene.leased()
    await scene.do(scene.commit(token, keep_for=LEASE))
    return scene.event(), TurnRelease(lease=scene.held(token))


async def send_and_end(scene: Scene) -> Pair:
    token = await scene.leased()
    return scene.event(), scene.commit(token, end=COMPLETED)


async def result_and_continue(scene: Scene) -> Pair:
    token = await scene.leased()
    sent = (*scene.event(), result("result", scene.id()))
    return sent, scene.commit(token, end=AGAIN, front=(restart(2, scene.id()),))


async def cancellation_and_delay(scene: Scene) -> Pair:
    token = await scene.leased()
    cancel = result("cancel", scene.id(), kind=MessageKind.CANCEL, execution=None)
    return (cancel,), TurnRelease(lease=scene.held(token), delay=LEASE * 2, counted=False)


async def two_sends(scene: Scene) -> Pair:
    await scene.idle()
    return scene.event("one"), scene.event("two")


async def the_same_sent_twice(scene: Scene) -> Pair:
    await scene.idle()
    return scene.event(), scene.event()


@check("RACE-2")
async def messages_meet_what_happens_to_their_instance(bench: Bench) -> None:
    """A message that is sent while its instance is created, leased, committed, released or ended is neither lost nor doubled, and wakes it."""
    await sweep(
        bench,
        [
            Overlap(what="a send and a creation", prepare=send_and_create),
            Overlap(what="a send and a look", prepare=send_and_lease),
            Overlap(what="a send and a commit", prepare=send_and_commit),
            Overlap(what="a send and a commit that keeps its lease", prepare=send_and_kept_commit),
            Overlap(what="a send and a release", prepare=send_and_release),
            Overlap(what="a send and a commit that ends the instance", prepare=send_and_end),
            Overlap(what="a send and a commit that continues as new", prepare=result_and_continue),
            Overlap(
                what="a cancellation and a release with a delay", prepare=cancellation_and_delay
            ),
            Overlap(what="two sends", prepare=two_sends),
            Overlap(what="two sends of one message", prepare=the_same_sent_twice),
        ],
    )


async def renewal_and_commit(scene: Scene) -> Pair:
    token = await scene.leased()
    renewal = TurnRenewal(leases=(scene.held(token),), lease_for=LEASE * 2)
    return renewal, scene.commit(token, remove=())


async def renewal_and_release(scene: Scene) -> Pair:
    token = await scene.leased()
    renewal = TurnRenewal(leases=(scene.held(token),), lease_for=LEASE * 2)
    return renewal, TurnRelease(lease=scene.held(token), counted=False, parked=MARK)


async def renewal_and_end(scene: Scene) -> Pair:
    token = await scene.leased()
    renewal = TurnRenewal(leases=(scene.held(token),), lease_for=LEASE * 2)
    return renewal, scene.commit(token, end=COMPLETED)


async def two_releases(scene: Scene) -> Pair:
    token = await scene.leased()
    release = TurnRelease(lease=scene.held(token), counted=False)
    return release, release


async def two_looks(scene: Scene) -> Pair:
    await scene.do(scene.new("a"), scene.new("b"))
    return scene.look(), scene.look()


async def look_and_create(scene: Scene) -> Pair:
    return scene.look(), scene.new()


async def look_and_commit(scene: Scene) -> Pair:
    token = await scene.leased()
    return scene.look(), scene.commit(token, remove=())


async def release_and_commit(scene: Scene) -> Pair:
    token = await scene.leased()
    return TurnRelease(lease=scene.held(token), parked=MARK), scene.commit(token)


async def late_renewal_and_look(scene: Scene) -> Pair:
    token = await scene.leased(lease_for=BRIEF)
    return TurnRenewal(leases=(scene.held(token),), lease_for=LEASE), scene.look()


async def late_commit_and_look(scene: Scene) -> Pair:
    token = await scene.leased(lease_for=BRIEF)
    return scene.commit(token, keep_for=LEASE), scene.look()


async def late_release_and_look(scene: Scene) -> Pair:
    token = await scene.leased(lease_for=BRIEF)
    return TurnRelease(lease=scene.held(token), counted=False, parked=MARK), scene.look()


@check("RACE-3")
async def leases_of_turns_meet(bench: Bench) -> None:
    """Looks, renewals, releases and commits that overlap leave one holder at most, and no lease that is gone lives again."""
    await sweep(
        bench,
        [
            Overlap(
                what="a renewal and a commit that gives the lease up", prepare=renewal_and_commit
            ),
            Overlap(what="a renewal and a release", prepare=renewal_and_release),
            Overlap(what="a renewal and a commit that ends the instance", prepare=renewal_and_end),
            Overlap(what="two releases of one lease", prepare=two_releases),
            Overlap(what="two looks", prepare=two_looks),
            Overlap(what="a look and a creation", prepare=look_and_create),
            Overlap(what="a look and a commit", prepare=look_and_commit),
            Overlap(what="a release and a commit", prepare=release_and_commit),
            Overlap(what="a renewal of an expired lease and a look", prepare=late_renewal_and_look),
            Overlap(
                what="a commit under an expired lease and a look", prepare=late_commit_and_look
            ),
            Overlap(what="a release of an expired lease and a look", prepare=late_release_and_look),
        ],
    )


async def two_commits(scene: Scene) -> Pair:
    token = await scene.leased()
    first = scene.commit(token, add=(scene.work("one"),), send=scene.event("one", "b"))
    return first, scene.commit(token, add=(scene.work("two"),), send=scene.event("two", "b"))


async def commit_and_its_repeat(scene: Scene) -> Pair:
    token = await scene.leased()
    child = NewChild(instance=scene.new("child"))
    commit = scene.commit(token, add=(scene.work(),), create=(child,), keep_for=LEASE)
    return commit, commit


async def crossing_commits(scene: Scene) -> Pair:
    token = await scene.leased("a", "b")
    first = scene.commit(token, "a", send=scene.event("from-a", "b"))
    return first, scene.commit(token, "b", send=scene.event("from-b", "a"))


async def child_and_create(scene: Scene) -> Pair:
    token = await scene.leased()
    in_use = result("in-use", scene.id(), kind=MessageKind.CHILD)
    child = NewChild(instance=scene.new("child"), if_exists=in_use)
    return scene.commit(token, create=(child,)), scene.new("child", incarnation="another")


async def child_and_child(scene: Scene) -> Pair:
    token = await scene.leased("a", "b")
    commits = [
        scene.commit(
            token,
            letter,
            create=(
                NewChild(
                    instance=scene.new("child", incarnation=letter),
                    if_exists=result("in-use", scene.id(letter), kind=MessageKind.CHILD),
                ),
            ),
        )
        for letter in ("a", "b")
    ]
    return commits[0], commits[1]


@check("RACE-4")
async def commits_meet(bench: Bench) -> None:
    """Commits that overlap each other, their repeats and creations do what they would do one after the other."""
    await sweep(
        bench,
        [
            Overlap(what="two commits of one turn", prepare=two_commits),
            Overlap(what="a commit and its repeat", prepare=commit_and_its_repeat),
            Overlap(what="two commits that send to each other", prepare=crossing_commits),
            Overlap(
                what="a commit with a child and a creation of its id", prepare=child_and_create
            ),
            Overlap(what="two commits with a child of one id", prepare=child_and_child),
        ],
    )


async def completion_and_finish(scene: Scene) -> Pair:
    token, worker = await scene.with_work()
    return scene.completion(worker), scene.commit(token, finish=(scene.held_work(worker),))


async def completion_and_cancel(scene: Scene) -> Pair:
    token, worker = await scene.with_work()
    return scene.completion(worker), scene.commit(token, cancel=("job",))


async def completion_and_commit(scene: Scene) -> Pair:
    token, worker = await scene.with_work()
    return scene.completion(worker), scene.commit(token)


async def completion_and_end(scene: Scene) -> Pair:
    token, worker = await scene.with_work()
    return scene.completion(worker), scene.commit(token, end=COMPLETED)


async def completion_and_continue(scene: Scene) -> Pair:
    token, worker = await scene.with_work()
    front = (restart(2, scene.id()),)
    return scene.completion(worker), scene.commit(token, end=AGAIN, front=front)


async def two_completions(scene: Scene) -> Pair:
    _, worker = await scene.with_work()
    return scene.completion(worker), scene.completion(worker)


async def completion_and_renewal(scene: Scene) -> Pair:
    _, worker = await scene.with_work()
    renewal = ActivityRenewal(leases=(scene.held_work(worker),), lease_for=LEASE * 2)
    return scene.completion(worker), renewal


async def completion_and_release(scene: Scene) -> Pair:
    _, worker = await scene.with_work()
    release = ActivityRelease(lease=scene.held_work(worker), counted=False, parked=MARK)
    return scene.completion(worker), release


async def renewal_and_cancel(scene: Scene) -> Pair:
    token, worker = await scene.with_work()
    renewal = ActivityRenewal(leases=(scene.held_work(worker),), lease_for=LEASE * 2)
    return renewal, scene.commit(token, cancel=("job",))


async def release_and_cancel(scene: Scene) -> Pair:
    token, worker = await scene.with_work()
    release = ActivityRelease(lease=scene.held_work(worker), counted=False)
    return release, scene.commit(token, cancel=("job",))


async def look_and_cancel(scene: Scene) -> Pair:
    token = await scene.leased()
    await scene.do(scene.commit(token, add=(scene.work(),), keep_for=LEASE))
    return scene.look_for_work(), scene.commit(token, cancel=("job",))


async def look_and_end(scene: Scene) -> Pair:
    token = await scene.leased()
    await scene.do(scene.commit(token, add=(scene.work(),), keep_for=LEASE))
    return scene.look_for_work(), scene.commit(token, end=COMPLETED)


async def two_looks_for_work(scene: Scene) -> Pair:
    token = await scene.leased()
    await scene.do(scene.commit(token, add=(scene.work("one"), scene.work("two")), keep_for=LEASE))
    return scene.look_for_work(), scene.look_for_work()


async def late_completion_and_look(scene: Scene) -> Pair:
    _, worker = await scene.with_work(lease_for=BRIEF)
    return scene.completion(worker), scene.look_for_work()


async def late_renewal_and_look_for_work(scene: Scene) -> Pair:
    _, worker = await scene.with_work(lease_for=BRIEF)
    renewal = ActivityRenewal(leases=(scene.held_work(worker),), lease_for=LEASE)
    return renewal, scene.look_for_work()


@check("RACE-5")
async def activities_meet_their_instance(bench: Bench) -> None:
    """Completions, releases, renewals and looks that overlap a commit, or each other, take effect once, in some order."""
    await sweep(
        bench,
        [
            Overlap(
                what="a completion and a commit that finishes it", prepare=completion_and_finish
            ),
            Overlap(
                what="a completion and a commit that cancels it", prepare=completion_and_cancel
            ),
            Overlap(what="a completion and a commit", prepare=completion_and_commit),
            Overlap(what="a completion and the end of its instance", prepare=completion_and_end),
            Overlap(what="a completion and a continue-as-new", prepare=completion_and_continue),
            Overlap(what="two completions under one lease", prepare=two_completions),
            Overlap(what="a completion and a renewal", prepare=completion_and_renewal),
            Overlap(what="a completion and a release", prepare=completion_and_release),
            Overlap(what="a renewal and a commit that cancels", prepare=renewal_and_cancel),
            Overlap(what="a release and a commit that cancels", prepare=release_and_cancel),
            Overlap(what="a look for work and a commit that cancels", prepare=look_and_cancel),
            Overlap(what="a look for work and the end of its instance", prepare=look_and_end),
            Overlap(what="two looks for work", prepare=two_looks_for_work),
            Overlap(
                what="a completion under an expired lease and a look",
                prepare=late_completion_and_look,
            ),
            Overlap(
                what="a renewal of an expired lease and a look for work",
                prepare=late_renewal_and_look_for_work,
            ),
        ],
    )


async def reopening_and_commit(scene: Scene) -> Pair:
    token = await scene.leased()
    return reopening(1, scene.id()), scene.commit(token)


async def reopening_and_send(scene: Scene) -> Pair:
    token = await scene.leased()
    await scene.do(scene.commit(token, end=COMPLETED))
    return reopening(1, scene.id()), scene.event()


async def two_reopenings(scene: Scene) -> Pair:
    token = await scene.leased()
    await scene.do(scene.commit(token, end=COMPLETED))
    return reopening(1, scene.id(), id="one"), reopening(1, scene.id(), id="two")


async def reopening_and_renewal(scene: Scene) -> Pair:
    token = await scene.leased()
    renewal = TurnRenewal(leases=(scene.held(token),), lease_for=LEASE * 2)
    return reopening(1, scene.id()), renewal


async def reopening_and_completion(scene: Scene) -> Pair:
    _, worker = await scene.with_work()
    return reopening(1, scene.id()), scene.completion(worker)


async def termination_and_commit(scene: Scene) -> Pair:
    token = await scene.leased()
    return termination(scene.id()), scene.commit(token, add=(scene.work(),))


async def termination_and_end(scene: Scene) -> Pair:
    token = await scene.leased()
    return termination(scene.id()), scene.commit(token, end=COMPLETED)


async def termination_and_completion(scene: Scene) -> Pair:
    _, worker = await scene.with_work()
    return termination(scene.id()), scene.completion(worker)


@check("RACE-6", since=(1, 1), needs=RECOVERY)
async def recovery_meets_the_runtime(bench: Bench) -> None:
    """Reopenings and terminations that overlap commits, completions, renewals and messages come before or after them."""
    await sweep(
        bench,
        [
            Overlap(what="a reopening and a commit", prepare=reopening_and_commit),
            Overlap(what="a reopening and a send", prepare=reopening_and_send),
            Overlap(what="two reopenings", prepare=two_reopenings),
            Overlap(what="a reopening and a renewal", prepare=reopening_and_renewal),
            Overlap(what="a reopening and a completion", prepare=reopening_and_completion),
            Overlap(what="a termination and a commit", prepare=termination_and_commit),
            Overlap(what="a termination and an end", prepare=termination_and_end),
            Overlap(what="a termination and a completion", prepare=termination_and_completion),
        ],
    )


async def _ended(scene: Scene) -> Deletion:
    token = await scene.leased()
    await scene.do(scene.commit(token, end=COMPLETED))
    return Deletion(instance=scene.id(), incarnation=scene.incarnation())


async def deletion_and_send(scene: Scene) -> Pair:
    return await _ended(scene), scene.event()


async def deletion_and_create(scene: Scene) -> Pair:
    return await _ended(scene), scene.new(incarnation="another")


async def two_deletions(scene: Scene) -> Pair:
    deletion = await _ended(scene)
    return deletion, deletion


async def deletion_and_end(scene: Scene) -> Pair:
    token = await scene.leased()
    deletion = Deletion(instance=scene.id(), incarnation=scene.incarnation())
    return deletion, scene.commit(token, end=COMPLETED)


async def deletion_and_commit_to_it(scene: Scene) -> Pair:
    deletion = await _ended(scene)
    token = await scene.leased("b")
    return deletion, scene.commit(token, "b", send=scene.event())


@check("RACE-7", since=(1, 1), needs=DELETION)
async def deletions_meet_late_calls(bench: Bench) -> None:
    """Deletions that overlap messages, creations, ends and each other come before or after them."""
    await sweep(
        bench,
        [
            Overlap(what="a deletion and a send", prepare=deletion_and_send),
            Overlap(what="a deletion and a creation of its id", prepare=deletion_and_create),
            Overlap(what="two deletions", prepare=two_deletions),
            Overlap(what="a deletion and the end of its instance", prepare=deletion_and_end),
            Overlap(
                what="a deletion and a commit that sends to it", prepare=deletion_and_commit_to_it
            ),
        ],
    )
