"""The server as the official Python client sees it. Usage: python client.py CONNECTION-STRING; prints "ok" at the end."""

import sys
import uuid
from datetime import datetime, timedelta, timezone

from kurrentdbclient import KurrentDBClient, NewEvent, StreamState
from kurrentdbclient.events import CaughtUp, Checkpoint
from kurrentdbclient.exceptions import KurrentDBClientError, NotFoundError, WrongCurrentVersionError

client = KurrentDBClient(uri=sys.argv[1])


def happened(n, **fields):
    return NewEvent(type="python.happened", data=b'{"n": %d}' % n, **fields)


def refused(error, call):
    try:
        call()
    except error as refusal:
        return refusal
    raise AssertionError(f"{error} expected")


# Appending: ids, payloads and metadata come back.
first = happened(0, id=uuid.uuid4(), metadata=b'{"actor": "python"}')
position = client.append_to_stream("python-1", current_version=StreamState.NO_STREAM, events=[first, happened(1)])
binary = NewEvent(type="python.bytes", data=b"\x00\xff\x07", content_type="application/octet-stream")
client.append_to_stream("python-1", current_version=StreamState.EXISTS, events=[binary])
client.append_to_stream("python-1", current_version=2, events=happened(3))

# A retry with the same ids writes nothing; another expectation is refused with the revision found.
again = client.append_to_stream("python-1", current_version=StreamState.NO_STREAM, events=[first])
wrong = refused(
    WrongCurrentVersionError,
    lambda: client.append_to_stream("python-1", current_version=0, events=[happened(9), happened(10)]),
)
assert wrong.actual_version == 3, vars(wrong)
missing = refused(
    WrongCurrentVersionError,
    lambda: client.append_to_stream("python-none", current_version=5, events=[happened(9)]),
)
assert missing.actual_version == StreamState.NO_STREAM, vars(missing)

# Reading, both ways.
events = client.get_stream("python-1")
assert [event.stream_position for event in events] == [0, 1, 2, 3]
assert events[0].id == first.id and events[0].data == first.data and events[0].metadata == first.metadata
assert events[1].commit_position == position
assert [event.content_type for event in events[1:3]] == ["application/json", "application/octet-stream"]
assert events[2].data == binary.data
assert abs(events[0].recorded_at - datetime.now(timezone.utc)) < timedelta(minutes=10)
assert [event.stream_position for event in client.get_stream("python-1", backwards=True, limit=2)] == [3, 2]
assert [event.stream_position for event in client.get_stream("python-1", stream_position=2)] == [2, 3]
assert client.get_current_version("python-1") == 3
assert client.get_current_version("python-none") is StreamState.NO_STREAM
refused(NotFoundError, lambda: client.get_stream("python-none"))

# A large append, then the whole log both ways.
many = [happened(n) for n in range(1500)]
end = client.append_to_stream("python-many", current_version=StreamState.NO_STREAM, events=many)
assert client.get_commit_position() == end
own = [event for event in client.read_all() if event.stream_name.startswith("python-")]
assert len(own) == 1504
assert [event.id for event in client.read_all(backwards=True, limit=3)] == [event.id for event in many[:-4:-1]]
types = {event.type for event in client.read_all(filter_include=[r"python\.b.*"])}
assert types == {"python.bytes"}, types

# Subscriptions: what was, and what comes.
with client.subscribe_to_stream("python-1", stream_position=1) as subscription:
    assert [next(subscription).stream_position for _ in range(2)] == [2, 3]
    client.append_to_stream("python-1", current_version=StreamState.ANY, events=[happened(4)])
    assert next(subscription).stream_position == 4
with client.subscribe_to_all(
    filter_include=["python-1"], filter_by_stream_name=True, include_checkpoints=True, include_caught_up=True
) as subscription:
    seen, checkpoints = [], 0
    for message in subscription:
        if isinstance(message, CaughtUp):
            break
        if isinstance(message, Checkpoint):
            checkpoints += 1
        else:
            seen.append(message.stream_position)
assert seen == [0, 1, 2, 3, 4] and checkpoints > 0, (seen, checkpoints)

# Metadata of streams is kept; nothing is deleted.
client.set_stream_metadata("python-1", metadata={"$maxCount": 100}, current_version=StreamState.ANY)
assert client.get_stream_metadata("python-1")[0] == {"$maxCount": 100}
refusal = refused(KurrentDBClientError, lambda: client.delete_stream("python-1", current_version=StreamState.ANY))
assert "never deletes" in str(refusal), refusal

client.close()
print("ok")
