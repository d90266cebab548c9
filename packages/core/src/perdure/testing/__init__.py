"""Testing durable programs: the real engine in a test, and replay checks of stored histories.

    async with Stage(app) as stage:
        charge = stage.fake(charge_card, returns=Receipt(id="r1"))
        receipt = await stage.run(process_order, order)

- `stage`: an application in a test: its runtime, its client and its clock
- `stage_process`: one process on a stage; a deployment or a crash replaces its runtime
- `fakes`, `stage_fakes`: stand-ins for activities and children, checked against their signatures
- `single_activity`: one activity alone, with its context
- `stage_time`, `stage_provider`, `stage_client`, `stage_runtime`: what is under way, what becomes
  due, and who waits for it
- `survival`, `proof_stage`: an orchestration with a crash at each of its commits
- `exploration`, `arrivals`: an orchestration in every order in which its results can arrive
- `locating`: where the code of an instance stands, at any event of its history
- `replay_check`: replays histories without running anything
- `replay_report`: what a check found
- `strategies`: crashes and orders for Hypothesis
- `history_sources`: folders, clients and URLs as sources of histories

Applications never import this package outside their tests.
"""

from perdure.replay.code_locations import WaitingTask
from perdure.replay.comparing import ValueDifference
from perdure.replay.positions import SourceLine, TaskPosition
from perdure.testing.exploration import Exploration, ExploredOutcome, explore
from perdure.testing.fakes import Fake, FakeCall
from perdure.testing.history_sources import history_documents
from perdure.testing.locating import Location, locate
from perdure.testing.proof_stage import Crash, CrashSite
from perdure.testing.replay_check import check_histories, check_history
from perdure.testing.replay_report import CheckedExecution, Disagreement, ReplayReport, Verdict
from perdure.testing.single_activity import run_activity
from perdure.testing.stage import Stage
from perdure.testing.stage_process import StageProcess
from perdure.testing.stage_time import NothingHappens
from perdure.testing.survival import NotSurvived, Survival, survive

__all__ = [
    "CheckedExecution",
    "Crash",
    "CrashSite",
    "Disagreement",
    "Exploration",
    "ExploredOutcome",
    "Fake",
    "FakeCall",
    "Location",
    "NotSurvived",
    "NothingHappens",
    "ReplayReport",
    "SourceLine",
    "Stage",
    "StageProcess",
    "Survival",
    "TaskPosition",
    "ValueDifference",
    "Verdict",
    "WaitingTask",
    "check_histories",
    "check_history",
    "explore",
    "history_documents",
    "locate",
    "run_activity",
    "survive",
]
