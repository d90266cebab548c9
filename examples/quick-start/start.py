import perdure
from orders import deliver

with perdure.BlockingClient.open("sqlite:///orders.db") as client:
    try:
        client.start_orchestration("order-1", deliver, ["lamp", "desk"])
    except perdure.InstanceAlreadyExists:
        print("order-1 was started before", flush=True)
    print(client.wait_for_orchestration_typed("order-1", str, timeout=60))
