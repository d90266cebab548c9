"""Providers that lose, mix up or invent the custom status and the values of an instance."""

import asyncio
import copy
from dataclasses import replace

from perdure.contract import InstanceValues, TurnCommit
from perdure_conformance.broken_providers import breaks, what_catches
from perdure_conformance.careful_store import Careful, breaks_storage
from perdure_conformance.clauses import CLAUSES
from perdure_conformance.model import ModelProvider, Store


class SetsFields(Store):
    """Sets the fields of a commit; a subclass changes one of them afterwards."""

    def set_fields(self, row, commit):
        before = row.state
        super().set_fields(row, commit)
        row.state = replace(row.state, **self.changed(before, row.state, commit))


@breaks("VALUES-1")
class CountsStatusesThatDiffer(SetsFields):
    def changed(self, before, after, commit):
        same = before.custom_status == after.custom_status
        return {"custom_status_version": before.custom_status_version + (not same)}


@breaks("VALUES-1")
class CountsEveryCommit(SetsFields):
    def changed(self, before, after, commit):
        return {"custom_status_version": before.custom_status_version + 1}


@breaks("VALUES-1")
class ForgetsTheStatus(SetsFields):
    def changed(self, before, after, commit):
        return {"custom_status": commit.custom_status}


@breaks("VALUES-1")
class TakesAnEmptyStatusForNone(SetsFields):
    def changed(self, before, after, commit):
        return {"custom_status": commit.custom_status or before.custom_status}


@breaks("VALUES-1")
class ForgetsTheStatusOfTheExecutionBefore(Store):
    def continue_as_new(self, row, commit):
        super().continue_as_new(row, commit)
        row.state = replace(row.state, custom_status=None, custom_status_version=0)


@breaks("VALUES-1")
class ForgetsTheStatusAtTheEnd(SetsFields):
    def changed(self, before, after, commit):
        return {} if commit.end is None else {"custom_status": before.custom_status}


@breaks("VALUES-1")
class ForgetsTheStatusAtAReopening(Store):
    def set_reopened(self, row, reopening):
        super().set_reopened(row, reopening)
        row.state = replace(row.state, custom_status=None)


@breaks("VALUES-1")
class LeasesTurnsWithoutTheStatus(ModelProvider):
    async def lease_turns(self, request):
        return [
            replace(turn, state=replace(turn.state, custom_status=None))
            for turn in await super().lease_turns(request)
        ]


@breaks("VALUES-2")
class ReplacesAllValues(Store):
    def set_values(self, commit: TurnCommit):
        if commit.values:
            self.drop_values(commit.instance)
        super().set_values(commit)


@breaks("VALUES-2", "VALUES-3")
class NeverDeletesValues(Store):
    def set_values(self, commit):
        values = {key: value for key, value in commit.values.items() if value is not None}
        super().set_values(replace(commit, values=values))


@breaks("VALUES-2")
class TakesEmptyValuesForNone(Store):
    def set_values(self, commit):
        values = {key: value or None for key, value in commit.values.items()}
        super().set_values(replace(commit, values=values))


@breaks("VALUES-2")
class CountsAllValuesEverSet(Store):
    def count_values(self, instance):
        self.ever = {**getattr(self, "ever", {}), **self.tables.values.get(instance, {})}
        return len(self.ever)


@breaks("VALUES-2")
class GivesAllValues(Store):
    def read_values(self, instance, keys):
        return super().read_values(instance, None)


@breaks("VALUES-2")
class TakesNoKeysForAll(Store):
    def read_values(self, instance, keys):
        return super().read_values(instance, keys or None)


@breaks("VALUES-2")
class GivesNoneForUnknownKeys(Store):
    def read_values(self, instance, keys):
        found = super().read_values(instance, keys)
        if found is None or keys is None:
            return found
        return replace(found, values={key: found.values.get(key) for key in keys})


@breaks("VALUES-2")
class GivesNothingForAnAbsentInstance(Store):
    def read_values(self, instance, keys):
        none = InstanceValues(incarnation="", last_commit=None, values={})
        return super().read_values(instance, keys) or none


@breaks("VALUES-2")
class ForgetsValuesAtTheEnd(Store):
    def end_execution(self, row, commit):
        super().end_execution(row, commit)
        if commit.end is not None:
            self.drop_values(commit.instance)


@breaks("VALUES-2")
class ForgetsValuesAtAReopening(Store):
    def reopen(self, row, reopening):
        super().reopen(row, reopening)
        self.drop_values(reopening.instance)


@breaks("VALUES-2")
class LeavesValuesToTheNextInstance(Store):
    def drop_values(self, instance):
        pass


@breaks("VALUES-2")
class ForgetsTheCommitOfValues(Store):
    def read_values(self, instance, keys):
        found = super().read_values(instance, keys)
        return found and replace(found, last_commit=None)


class FoldsKeys(Store):
    """Stores values under another form of their keys."""

    def set_values(self, commit):
        values = {self.folded(key): value for key, value in commit.values.items()}
        super().set_values(replace(commit, values=values))

    def read_values(self, instance, keys):
        folded = None if keys is None else frozenset(map(self.folded, keys))
        return super().read_values(instance, folded)


@breaks("VALUES-3")
class IgnoresCase(FoldsKeys):
    def folded(self, key):
        return key.lower()


@breaks("VALUES-3")
class CutsKeys(FoldsKeys):
    def folded(self, key):
        return key[:255]


@breaks("VALUES-3")
class TrimsKeys(FoldsKeys):
    def folded(self, key):
        return key.strip()


@breaks("VALUES-3")
class CutsValues(Store):
    def set_values(self, commit):
        cut = {key: value and value[:65535] for key, value in commit.values.items()}
        super().set_values(replace(commit, values=cut))


@breaks("VALUES-3")
class SetsAHundredValues(Store):
    def set_values(self, commit):
        few = dict(list(commit.values.items())[:100])
        super().set_values(replace(commit, values=few))


@breaks("VALUES-4")
class SetsValuesBeforeItLooks(Store):
    def commit_turn(self, commit):
        self.set_values(commit)
        return super().commit_turn(commit)


@breaks("VALUES-4")
class RaisesTheVersionAgain(Store):
    def repeated_answer(self, row, commit):
        version = row.state.custom_status_version + 1
        row.state = replace(row.state, custom_status_version=version)
        return super().repeated_answer(row, commit)


@breaks("VALUES-4")
class SetsValuesAStepLater(ModelProvider):
    async def commit_turn(self, commit):
        answer = self.at_present().commit_turn(replace(commit, values={}))
        await asyncio.sleep(0)
        self.at_present().set_values(commit)
        row = self._store.tables.instances[commit.instance]
        row.state = replace(row.state, value_count=self._store.count_values(commit.instance))
        return answer


@breaks("VALUES-5")
class SharesValues(Store):
    def set_values(self, commit):
        super().set_values(replace(commit, instance="all"))

    def read_values(self, instance, keys):
        self.tables.values[instance] = self.tables.values.get("all", {})
        return super().read_values(instance, keys)

    def count_values(self, instance):
        return super().count_values("all")


@breaks("VALUES-5")
class JoinsNamesAndKeys(Store):
    """Stores values under the id and the key, joined."""

    def set_values(self, commit):
        joined = {f"{commit.instance}#{key}": value for key, value in commit.values.items()}
        super().set_values(replace(commit, instance="all", values=joined))

    def mine(self, instance):
        stored = self.tables.values.get("all", {})
        begin = f"{instance}#"
        return {k.removeprefix(begin): v for k, v in stored.items() if k.startswith(begin)}

    def read_values(self, instance, keys):
        self.tables.values[instance] = self.mine(instance)
        return super().read_values(instance, keys)

    def count_values(self, instance):
        return len(self.mine(instance))


@breaks_storage("VALUES-6")
class LeavesTheValuesOfACommitThatFailed(Careful):
    def take_back_commit(self, before, commit):
        before.values = copy.deepcopy(self.tables.values)
        return super().take_back_commit(before, commit)


@breaks_storage("VALUES-6")
class LeavesTheStatusOfACommitThatFailed(Careful):
    def take_back_commit(self, before, commit):
        row = before.instances[commit.instance]
        row.state = replace(row.state, custom_status=commit.custom_status)
        return super().take_back_commit(before, commit)


def test_a_broken_provider_is_caught(broken, clause):
    (check,) = (check for check in CLAUSES if check.id == clause)

    assert what_catches(broken, check) is not None
