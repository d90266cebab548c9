"""What a type checker makes of the resources of an activity, and of what is told of instances.

The lines that end in `# refused` must be reported, and no other.
"""

from typing import assert_type

from perdure import (
    ActivityContext,
    Completed,
    ErrorDetails,
    ExecutionInfo,
    Failed,
    InstanceAlreadyExists,
    InstanceInfo,
    NotFound,
    OrchestrationStatus,
    Registry,
    Running,
    activity_context,
)


class Pool:
    def query(self, text: str) -> list[int]:
        return []


app = Registry(replace=True)


@app.activity
async def count() -> int:
    context = activity_context(Pool)
    assert_type(context, ActivityContext[Pool])
    assert_type(context.resources, Pool)
    assert_type(context.resources.query("all"), list[int])
    assert_type(context.instance, str)
    assert_type(context.execution, int)
    assert_type(activity_context(), ActivityContext[object])
    assert_type(activity_context().resources, object)
    return len(context.resources.query("all"))


def covariance(context: ActivityContext[Pool]) -> ActivityContext[object]:
    return context


def status(found: OrchestrationStatus) -> str:
    match found:
        case NotFound():
            return ""
        case Running(parked=parked):
            return "" if parked is None else parked.reason
        case Completed(output=output):
            return output
        case Failed(details=details):
            return details.display_message()


def infos(instance: InstanceInfo, execution: ExecutionInfo) -> None:
    assert_type(instance.instance, str)
    assert_type(instance.execution, int)
    assert_type(instance.output, str | None)
    assert_type(instance.failure, ErrorDetails | None)
    assert_type(execution.execution, int)
    assert_type(execution.failure, ErrorDetails | None)
    assert_type(InstanceAlreadyExists("i").instance, str)


def misuse(instance: InstanceInfo, context: ActivityContext[Pool]) -> None:
    activity_context(Pool).resources.close()  # refused
    activity_context().resources.query("all")  # refused
    activity_context("Pool")  # refused
    print(instance.instance_id)  # refused
    print(instance.failure.kind)  # refused
    print(context.instance_id)  # refused
    InstanceAlreadyExists("i", operation="create_instance")  # refused
    print(InstanceAlreadyExists("i").operation)  # refused
    Registry("replace")  # refused
    Registry(replace="yes")  # refused
    context.resources = Pool()  # refused
