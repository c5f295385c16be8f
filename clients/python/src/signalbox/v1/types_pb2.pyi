import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Role(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROLE_UNSPECIFIED: _ClassVar[Role]
    ROLE_SUBSCRIBER: _ClassVar[Role]
    ROLE_PUBLISHER: _ClassVar[Role]
    ROLE_MODERATOR: _ClassVar[Role]

class ConnectionState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CONNECTION_STATE_UNSPECIFIED: _ClassVar[ConnectionState]
    CONNECTION_STATE_CONNECTED: _ClassVar[ConnectionState]
    CONNECTION_STATE_INTERRUPTED: _ClassVar[ConnectionState]

class DisconnectReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DISCONNECT_REASON_UNSPECIFIED: _ClassVar[DisconnectReason]
    DISCONNECT_REASON_CLIENT_DISCONNECTED: _ClassVar[DisconnectReason]
    DISCONNECT_REASON_FORCE_DISCONNECTED: _ClassVar[DisconnectReason]
    DISCONNECT_REASON_NETWORK_DISCONNECTED: _ClassVar[DisconnectReason]
    DISCONNECT_REASON_SLOW_CONSUMER: _ClassVar[DisconnectReason]
    DISCONNECT_REASON_NODE_LOST: _ClassVar[DisconnectReason]
    DISCONNECT_REASON_TOKEN_EXPIRED: _ClassVar[DisconnectReason]
ROLE_UNSPECIFIED: Role
ROLE_SUBSCRIBER: Role
ROLE_PUBLISHER: Role
ROLE_MODERATOR: Role
CONNECTION_STATE_UNSPECIFIED: ConnectionState
CONNECTION_STATE_CONNECTED: ConnectionState
CONNECTION_STATE_INTERRUPTED: ConnectionState
DISCONNECT_REASON_UNSPECIFIED: DisconnectReason
DISCONNECT_REASON_CLIENT_DISCONNECTED: DisconnectReason
DISCONNECT_REASON_FORCE_DISCONNECTED: DisconnectReason
DISCONNECT_REASON_NETWORK_DISCONNECTED: DisconnectReason
DISCONNECT_REASON_SLOW_CONSUMER: DisconnectReason
DISCONNECT_REASON_NODE_LOST: DisconnectReason
DISCONNECT_REASON_TOKEN_EXPIRED: DisconnectReason

class Signal(_message.Message):
    __slots__ = ("type", "data")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    type: str
    data: str
    def __init__(self, type: _Optional[str] = ..., data: _Optional[str] = ...) -> None: ...

class Connection(_message.Message):
    __slots__ = ("connection_id", "created_at", "data", "role", "state")
    CONNECTION_ID_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    connection_id: str
    created_at: _timestamp_pb2.Timestamp
    data: str
    role: Role
    state: ConnectionState
    def __init__(self, connection_id: _Optional[str] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., data: _Optional[str] = ..., role: _Optional[_Union[Role, str]] = ..., state: _Optional[_Union[ConnectionState, str]] = ...) -> None: ...

class Recipients(_message.Message):
    __slots__ = ("connection_ids",)
    CONNECTION_IDS_FIELD_NUMBER: _ClassVar[int]
    connection_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, connection_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class SignalReceived(_message.Message):
    __slots__ = ("sequence", "from_connection_id", "signal", "sent_at")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    FROM_CONNECTION_ID_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    SENT_AT_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    from_connection_id: str
    signal: Signal
    sent_at: _timestamp_pb2.Timestamp
    def __init__(self, sequence: _Optional[int] = ..., from_connection_id: _Optional[str] = ..., signal: _Optional[_Union[Signal, _Mapping]] = ..., sent_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ConnectionCreated(_message.Message):
    __slots__ = ("sequence", "connection")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    CONNECTION_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    connection: Connection
    def __init__(self, sequence: _Optional[int] = ..., connection: _Optional[_Union[Connection, _Mapping]] = ...) -> None: ...

class ConnectionDestroyed(_message.Message):
    __slots__ = ("sequence", "connection_id", "reason")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    CONNECTION_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    connection_id: str
    reason: DisconnectReason
    def __init__(self, sequence: _Optional[int] = ..., connection_id: _Optional[str] = ..., reason: _Optional[_Union[DisconnectReason, str]] = ...) -> None: ...

class ConnectionInterrupted(_message.Message):
    __slots__ = ("sequence", "connection_id")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    CONNECTION_ID_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    connection_id: str
    def __init__(self, sequence: _Optional[int] = ..., connection_id: _Optional[str] = ...) -> None: ...

class ConnectionRestored(_message.Message):
    __slots__ = ("sequence", "connection_id")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    CONNECTION_ID_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    connection_id: str
    def __init__(self, sequence: _Optional[int] = ..., connection_id: _Optional[str] = ...) -> None: ...
