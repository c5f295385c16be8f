import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from signalbox.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class JoinOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JOIN_OUTCOME_UNSPECIFIED: _ClassVar[JoinOutcome]
    JOIN_OUTCOME_NEW: _ClassVar[JoinOutcome]
    JOIN_OUTCOME_RESUMED: _ClassVar[JoinOutcome]
    JOIN_OUTCOME_RESUMED_WITH_GAP: _ClassVar[JoinOutcome]

class ClientAction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CLIENT_ACTION_UNSPECIFIED: _ClassVar[ClientAction]
    CLIENT_ACTION_RESUME: _ClassVar[ClientAction]
    CLIENT_ACTION_REJOIN: _ClassVar[ClientAction]
    CLIENT_ACTION_STOP: _ClassVar[ClientAction]
JOIN_OUTCOME_UNSPECIFIED: JoinOutcome
JOIN_OUTCOME_NEW: JoinOutcome
JOIN_OUTCOME_RESUMED: JoinOutcome
JOIN_OUTCOME_RESUMED_WITH_GAP: JoinOutcome
CLIENT_ACTION_UNSPECIFIED: ClientAction
CLIENT_ACTION_RESUME: ClientAction
CLIENT_ACTION_REJOIN: ClientAction
CLIENT_ACTION_STOP: ClientAction

class JoinRequest(_message.Message):
    __slots__ = ("join", "send", "disconnect", "leave")
    JOIN_FIELD_NUMBER: _ClassVar[int]
    SEND_FIELD_NUMBER: _ClassVar[int]
    DISCONNECT_FIELD_NUMBER: _ClassVar[int]
    LEAVE_FIELD_NUMBER: _ClassVar[int]
    join: Join
    send: SendSignal
    disconnect: DisconnectConnection
    leave: Leave
    def __init__(self, join: _Optional[_Union[Join, _Mapping]] = ..., send: _Optional[_Union[SendSignal, _Mapping]] = ..., disconnect: _Optional[_Union[DisconnectConnection, _Mapping]] = ..., leave: _Optional[_Union[Leave, _Mapping]] = ...) -> None: ...

class Join(_message.Message):
    __slots__ = ("session_id", "connection_data", "resume_window", "resume", "signal_types", "suppress_connection_events", "suppress_own_signals")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    CONNECTION_DATA_FIELD_NUMBER: _ClassVar[int]
    RESUME_WINDOW_FIELD_NUMBER: _ClassVar[int]
    RESUME_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_TYPES_FIELD_NUMBER: _ClassVar[int]
    SUPPRESS_CONNECTION_EVENTS_FIELD_NUMBER: _ClassVar[int]
    SUPPRESS_OWN_SIGNALS_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    connection_data: str
    resume_window: _duration_pb2.Duration
    resume: Resume
    signal_types: _containers.RepeatedScalarFieldContainer[str]
    suppress_connection_events: bool
    suppress_own_signals: bool
    def __init__(self, session_id: _Optional[str] = ..., connection_data: _Optional[str] = ..., resume_window: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., resume: _Optional[_Union[Resume, _Mapping]] = ..., signal_types: _Optional[_Iterable[str]] = ..., suppress_connection_events: bool = ..., suppress_own_signals: bool = ...) -> None: ...

class Resume(_message.Message):
    __slots__ = ("connection_id", "resume_token", "epoch", "last_sequence", "last_result_send_id")
    CONNECTION_ID_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    LAST_RESULT_SEND_ID_FIELD_NUMBER: _ClassVar[int]
    connection_id: str
    resume_token: str
    epoch: int
    last_sequence: int
    last_result_send_id: int
    def __init__(self, connection_id: _Optional[str] = ..., resume_token: _Optional[str] = ..., epoch: _Optional[int] = ..., last_sequence: _Optional[int] = ..., last_result_send_id: _Optional[int] = ...) -> None: ...

class SendSignal(_message.Message):
    __slots__ = ("send_id", "signal", "to")
    SEND_ID_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    send_id: int
    signal: _types_pb2.Signal
    to: _types_pb2.Recipients
    def __init__(self, send_id: _Optional[int] = ..., signal: _Optional[_Union[_types_pb2.Signal, _Mapping]] = ..., to: _Optional[_Union[_types_pb2.Recipients, _Mapping]] = ...) -> None: ...

class DisconnectConnection(_message.Message):
    __slots__ = ("send_id", "connection_id")
    SEND_ID_FIELD_NUMBER: _ClassVar[int]
    CONNECTION_ID_FIELD_NUMBER: _ClassVar[int]
    send_id: int
    connection_id: str
    def __init__(self, send_id: _Optional[int] = ..., connection_id: _Optional[str] = ...) -> None: ...

class Leave(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class JoinResponse(_message.Message):
    __slots__ = ("signal", "send_result", "connection_created", "connection_destroyed", "joined", "heartbeat", "closing", "connection_interrupted", "connection_restored", "connections_page")
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    SEND_RESULT_FIELD_NUMBER: _ClassVar[int]
    CONNECTION_CREATED_FIELD_NUMBER: _ClassVar[int]
    CONNECTION_DESTROYED_FIELD_NUMBER: _ClassVar[int]
    JOINED_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    CLOSING_FIELD_NUMBER: _ClassVar[int]
    CONNECTION_INTERRUPTED_FIELD_NUMBER: _ClassVar[int]
    CONNECTION_RESTORED_FIELD_NUMBER: _ClassVar[int]
    CONNECTIONS_PAGE_FIELD_NUMBER: _ClassVar[int]
    signal: _types_pb2.SignalReceived
    send_result: SendResult
    connection_created: _types_pb2.ConnectionCreated
    connection_destroyed: _types_pb2.ConnectionDestroyed
    joined: Joined
    heartbeat: Heartbeat
    closing: Closing
    connection_interrupted: _types_pb2.ConnectionInterrupted
    connection_restored: _types_pb2.ConnectionRestored
    connections_page: ConnectionsPage
    def __init__(self, signal: _Optional[_Union[_types_pb2.SignalReceived, _Mapping]] = ..., send_result: _Optional[_Union[SendResult, _Mapping]] = ..., connection_created: _Optional[_Union[_types_pb2.ConnectionCreated, _Mapping]] = ..., connection_destroyed: _Optional[_Union[_types_pb2.ConnectionDestroyed, _Mapping]] = ..., joined: _Optional[_Union[Joined, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., closing: _Optional[_Union[Closing, _Mapping]] = ..., connection_interrupted: _Optional[_Union[_types_pb2.ConnectionInterrupted, _Mapping]] = ..., connection_restored: _Optional[_Union[_types_pb2.ConnectionRestored, _Mapping]] = ..., connections_page: _Optional[_Union[ConnectionsPage, _Mapping]] = ...) -> None: ...

class Joined(_message.Message):
    __slots__ = ("outcome", "connection", "connections", "epoch", "sequence", "resume_token", "resume_window", "last_send_id", "limits", "more_connections")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    CONNECTION_FIELD_NUMBER: _ClassVar[int]
    CONNECTIONS_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    RESUME_WINDOW_FIELD_NUMBER: _ClassVar[int]
    LAST_SEND_ID_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    MORE_CONNECTIONS_FIELD_NUMBER: _ClassVar[int]
    outcome: JoinOutcome
    connection: _types_pb2.Connection
    connections: _containers.RepeatedCompositeFieldContainer[_types_pb2.Connection]
    epoch: int
    sequence: int
    resume_token: str
    resume_window: _duration_pb2.Duration
    last_send_id: int
    limits: Limits
    more_connections: bool
    def __init__(self, outcome: _Optional[_Union[JoinOutcome, str]] = ..., connection: _Optional[_Union[_types_pb2.Connection, _Mapping]] = ..., connections: _Optional[_Iterable[_Union[_types_pb2.Connection, _Mapping]]] = ..., epoch: _Optional[int] = ..., sequence: _Optional[int] = ..., resume_token: _Optional[str] = ..., resume_window: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., last_send_id: _Optional[int] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., more_connections: bool = ...) -> None: ...

class Limits(_message.Message):
    __slots__ = ("max_data_bytes", "max_type_bytes", "max_recipients", "max_unresolved_sends", "signals_per_second", "signal_burst", "heartbeat_interval")
    MAX_DATA_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_TYPE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_RECIPIENTS_FIELD_NUMBER: _ClassVar[int]
    MAX_UNRESOLVED_SENDS_FIELD_NUMBER: _ClassVar[int]
    SIGNALS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_BURST_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    max_data_bytes: int
    max_type_bytes: int
    max_recipients: int
    max_unresolved_sends: int
    signals_per_second: int
    signal_burst: int
    heartbeat_interval: _duration_pb2.Duration
    def __init__(self, max_data_bytes: _Optional[int] = ..., max_type_bytes: _Optional[int] = ..., max_recipients: _Optional[int] = ..., max_unresolved_sends: _Optional[int] = ..., signals_per_second: _Optional[int] = ..., signal_burst: _Optional[int] = ..., heartbeat_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ConnectionsPage(_message.Message):
    __slots__ = ("connections", "more")
    CONNECTIONS_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    connections: _containers.RepeatedCompositeFieldContainer[_types_pb2.Connection]
    more: bool
    def __init__(self, connections: _Optional[_Iterable[_Union[_types_pb2.Connection, _Mapping]]] = ..., more: bool = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("sequence",)
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    def __init__(self, sequence: _Optional[int] = ...) -> None: ...

class SendResult(_message.Message):
    __slots__ = ("send_id", "accepted", "error")
    SEND_ID_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    send_id: int
    accepted: Accepted
    error: SendError
    def __init__(self, send_id: _Optional[int] = ..., accepted: _Optional[_Union[Accepted, _Mapping]] = ..., error: _Optional[_Union[SendError, _Mapping]] = ...) -> None: ...

class Accepted(_message.Message):
    __slots__ = ("sequence", "not_connected_ids")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    NOT_CONNECTED_IDS_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    not_connected_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, sequence: _Optional[int] = ..., not_connected_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class SendError(_message.Message):
    __slots__ = ("code", "reason", "message", "field", "retry_after")
    CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    code: int
    reason: str
    message: str
    field: str
    retry_after: _duration_pb2.Duration
    def __init__(self, code: _Optional[int] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ..., field: _Optional[str] = ..., retry_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Closing(_message.Message):
    __slots__ = ("reason", "action", "retry_after")
    REASON_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    reason: str
    action: ClientAction
    retry_after: _duration_pb2.Duration
    def __init__(self, reason: _Optional[str] = ..., action: _Optional[_Union[ClientAction, str]] = ..., retry_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class SendFromServerRequest(_message.Message):
    __slots__ = ("session_id", "signal", "to", "idempotency_key")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    signal: _types_pb2.Signal
    to: _types_pb2.Recipients
    idempotency_key: str
    def __init__(self, session_id: _Optional[str] = ..., signal: _Optional[_Union[_types_pb2.Signal, _Mapping]] = ..., to: _Optional[_Union[_types_pb2.Recipients, _Mapping]] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class SendFromServerResponse(_message.Message):
    __slots__ = ("sequence", "not_connected_ids", "recipient_count")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    NOT_CONNECTED_IDS_FIELD_NUMBER: _ClassVar[int]
    RECIPIENT_COUNT_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    not_connected_ids: _containers.RepeatedScalarFieldContainer[str]
    recipient_count: int
    def __init__(self, sequence: _Optional[int] = ..., not_connected_ids: _Optional[_Iterable[str]] = ..., recipient_count: _Optional[int] = ...) -> None: ...

class SubscribeRequest(_message.Message):
    __slots__ = ("join",)
    JOIN_FIELD_NUMBER: _ClassVar[int]
    join: Join
    def __init__(self, join: _Optional[_Union[Join, _Mapping]] = ...) -> None: ...

class SubscribeResponse(_message.Message):
    __slots__ = ("signal", "send_result", "connection_created", "connection_destroyed", "joined", "heartbeat", "closing", "connection_interrupted", "connection_restored", "connections_page")
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    SEND_RESULT_FIELD_NUMBER: _ClassVar[int]
    CONNECTION_CREATED_FIELD_NUMBER: _ClassVar[int]
    CONNECTION_DESTROYED_FIELD_NUMBER: _ClassVar[int]
    JOINED_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    CLOSING_FIELD_NUMBER: _ClassVar[int]
    CONNECTION_INTERRUPTED_FIELD_NUMBER: _ClassVar[int]
    CONNECTION_RESTORED_FIELD_NUMBER: _ClassVar[int]
    CONNECTIONS_PAGE_FIELD_NUMBER: _ClassVar[int]
    signal: _types_pb2.SignalReceived
    send_result: SendResult
    connection_created: _types_pb2.ConnectionCreated
    connection_destroyed: _types_pb2.ConnectionDestroyed
    joined: Joined
    heartbeat: Heartbeat
    closing: Closing
    connection_interrupted: _types_pb2.ConnectionInterrupted
    connection_restored: _types_pb2.ConnectionRestored
    connections_page: ConnectionsPage
    def __init__(self, signal: _Optional[_Union[_types_pb2.SignalReceived, _Mapping]] = ..., send_result: _Optional[_Union[SendResult, _Mapping]] = ..., connection_created: _Optional[_Union[_types_pb2.ConnectionCreated, _Mapping]] = ..., connection_destroyed: _Optional[_Union[_types_pb2.ConnectionDestroyed, _Mapping]] = ..., joined: _Optional[_Union[Joined, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., closing: _Optional[_Union[Closing, _Mapping]] = ..., connection_interrupted: _Optional[_Union[_types_pb2.ConnectionInterrupted, _Mapping]] = ..., connection_restored: _Optional[_Union[_types_pb2.ConnectionRestored, _Mapping]] = ..., connections_page: _Optional[_Union[ConnectionsPage, _Mapping]] = ...) -> None: ...

class SendRequest(_message.Message):
    __slots__ = ("session_id", "connection_id", "resume_token", "frames")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    CONNECTION_ID_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    connection_id: str
    resume_token: str
    frames: _containers.RepeatedCompositeFieldContainer[SendFrame]
    def __init__(self, session_id: _Optional[str] = ..., connection_id: _Optional[str] = ..., resume_token: _Optional[str] = ..., frames: _Optional[_Iterable[_Union[SendFrame, _Mapping]]] = ...) -> None: ...

class SendFrame(_message.Message):
    __slots__ = ("send", "disconnect")
    SEND_FIELD_NUMBER: _ClassVar[int]
    DISCONNECT_FIELD_NUMBER: _ClassVar[int]
    send: SendSignal
    disconnect: DisconnectConnection
    def __init__(self, send: _Optional[_Union[SendSignal, _Mapping]] = ..., disconnect: _Optional[_Union[DisconnectConnection, _Mapping]] = ...) -> None: ...

class SendResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[SendResult]
    def __init__(self, results: _Optional[_Iterable[_Union[SendResult, _Mapping]]] = ...) -> None: ...

class LeaveRequest(_message.Message):
    __slots__ = ("session_id", "connection_id", "resume_token")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    CONNECTION_ID_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    connection_id: str
    resume_token: str
    def __init__(self, session_id: _Optional[str] = ..., connection_id: _Optional[str] = ..., resume_token: _Optional[str] = ...) -> None: ...

class LeaveResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
