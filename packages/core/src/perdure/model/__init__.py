"""What everything speaks of: plain values that know no provider, no loop and no function.

- `identifiers`, `versions`, `durations`, `settings`: the rules for what callers pass, each kept in
  one place
- `details`, `status`: how an instance stands, and why it failed; `parked_reasons`: the words for
  why it is parked
- `application_errors`: errors by which application code says more than a class and a text
- `comparison`: what happens where a value differs from the history
- `payload`: JSON text, by the annotations of functions; `wire`: what core writes into the opaque
  bytes of the contract
- `envelope`: the mark of a payload that a codec has encoded; `hidden_payload`: what stands for one
  that is not shown
- `message_ids`: the ids of messages and activities
- `record`, `initializer`, `object_writer`: how records are made and written as JSON
- `shown`: a value as a message shows it
- `values`: the limits of the values and the custom status of an instance
- `guards`: what is refused inside an orchestration
"""
