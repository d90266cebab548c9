"""The comparison of a provider with the model: both get the same calls and must answer the same.

- `intents`: what a call may be about, as small values that shrink well
- `callers`: what the callers know, and the requests that they make of intents
- `requests`: calls as data, and their answers in a form that can be compared
- `overlaps`: what two calls that overlap may do together
- `states`: copies of the model, and when two of them are the same
- `visible`: what can be seen of a provider without a lease
- `descriptions`: records as short text
- `programs`: calls as a program that can be run
- `state_machine`: the state machine, and the check
"""
