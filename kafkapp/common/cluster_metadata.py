"""Cluster metadata: brokers, and a topic's partitions with their leaders and replicas."""


class Node:
    """A broker: `id`, `host`, `port`; host "-", port None if only the id is known. Source: Node of BrokerMetadata."""

    __module__ = "kafkapp"
    __slots__ = ("id", "host", "port")

    def __init__(self, id: int, host: str = "-", port: "int | None" = None) -> None:
        self.id = id
        self.host = host
        self.port = port

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Node) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __str__(self) -> str:
        return f"{self.host}:{'-' if self.port is None else self.port}/{self.id}"

    def __repr__(self) -> str:
        return f"Node({self})"


class PartitionInfo:
    """A partition: its `leader`, `replicas`, `in_sync_replicas` (Nodes). Source: PartitionInfo of BrokerMetadata."""

    __module__ = "kafkapp"
    __slots__ = ("leader", "replicas", "in_sync_replicas")

    def __init__(self, leader: Node, replicas: "list[Node]", in_sync_replicas: "list[Node]") -> None:
        self.leader = leader
        self.replicas = replicas
        self.in_sync_replicas = in_sync_replicas

    def __str__(self) -> str:
        return (f"leader[{self.leader}], replicas[{', '.join(map(str, self.replicas))}], "
                f"inSyncReplicas[{', '.join(map(str, self.in_sync_replicas))}]")

    def __repr__(self) -> str:
        return f"PartitionInfo({self})"


class BrokerMetadata:
    """The answer of `fetch_broker_metadata`. Source: rd_kafka_metadata(); BrokerMetadata.

    `topic` is its name, `nodes` all brokers of the cluster, `partitions` a dict of number to PartitionInfo,
    `originating_node` the broker that answered.
    """

    __module__ = "kafkapp"
    __slots__ = ("topic", "nodes", "partitions", "originating_node")

    def __init__(self, topic: str, nodes: "list[Node]", partitions: "dict[int, PartitionInfo]",
                 originating_node: "Node | None" = None) -> None:
        self.topic = topic
        self.nodes = nodes
        self.partitions = partitions
        self.originating_node = originating_node

    def __str__(self) -> str:
        node = f"originatingNode[{self.originating_node}], " if self.originating_node else ""
        return (f"{node}topic[{self.topic}], "
                f"partitions{{{'; '.join(f'{number}: {p}' for number, p in sorted(self.partitions.items()))}}}")

    def __repr__(self) -> str:
        return f"BrokerMetadata({self})"
