"""List of the cluster (`-L`): brokers, topics, partitions and leaders, in the form that kcat gives them."""
import json
from typing import Any

from kafkapp import Error, ErrorCode, KafkaAsyncProducer, KafkaException
from kafkapp.cli.causes import Causes
from kafkapp.cli.request import UNREACHABLE, Misuse, ProduceOptions, message_of, require_servers
from kafkapp.common.cluster_metadata import BrokerMetadata, Node
from kafkapp.config.redaction import redact

Topics = list[tuple[BrokerMetadata, str]]      # with their errors' texts


def list_cluster(request: ProduceOptions) -> str:
    """The list, for a reader or as a line of JSON.

    Raises:
        Misuse: no broker answers, or the topic is not there.
    """
    if request.embedded:
        from kafkapp.testing import MockCluster
        with MockCluster(1) as cluster:
            request.properties["bootstrap.servers"] = cluster.bootstrap_servers
            return shown(request, *ask(request))
    return shown(request, *ask(request))


def ask(request: ProduceOptions) -> tuple[BrokerMetadata, Topics]:
    """What the cluster says of all topics: a request for one that is not there might create it."""
    properties, timeout = request.properties, request.timeout
    servers = require_servers(properties)
    causes = Causes(properties)
    try:
        with KafkaAsyncProducer({"error_cb": causes.on_error, **properties}) as producer, \
                causes.told(lambda: True, lambda: 0):
            (brokers, _), *topics = producer._fetch_cluster(timeout)
            return brokers, [(one, Error(ErrorCode(code)).message if code else "") for one, code in topics]
    except (KafkaException, TypeError, ValueError) as failure:
        text = message_of(failure)
        if isinstance(failure, KafkaException) and failure.error.code in UNREACHABLE:
            reason = (causes.error or failure.error).message
            text = f"no broker reachable at {servers} within {timeout:g} s: {reason}"
        raise Misuse(redact(text, properties)) from None


def shown(request: ProduceOptions, brokers: BrokerMetadata, topics: Topics) -> str:
    nodes, origin = brokers.nodes, brokers.originating_node or Node(-1)
    if request.topic is not None:
        topics = [pair for pair in topics if pair[0].topic == request.topic]
        if not topics:
            raise Misuse(f"topic {request.topic} is not there")
    if request.as_json:
        return json.dumps(as_dict(nodes, origin, topics, request.topic))
    what = "all topics" if request.topic is None else request.topic
    lines = [f"Metadata for {what} (from broker {origin.id}: {origin}):", f" {len(nodes)} brokers:"]
    lines += [f"  broker {node.id} at {node.host}:{node.port}" for node in nodes]
    lines.append(f" {len(topics)} topics:")
    for topic, error in topics:
        lines.append(f'  topic "{topic.topic}" with {len(topic.partitions)} partitions:' + f" {error}" * bool(error))
        for number, one in sorted(topic.partitions.items()):
            lines.append(f"    partition {number}, leader {one.leader.id}, replicas: {ids(one.replicas)}, "
                         f"isrs: {ids(one.in_sync_replicas)}")
    return "\n".join(lines)


def ids(nodes: list[Node]) -> str:
    return ",".join(str(node.id) for node in nodes)


def as_dict(nodes: list[Node], origin: Node, topics: Topics, topic: str | None) -> dict[str, Any]:
    """As `kcat -L -J` has it."""
    return {
        "originating_broker": {"id": origin.id, "name": str(origin)},
        "query": {"topic": topic or "*"},
        "brokers": [{"id": node.id, "name": f"{node.host}:{node.port}"} for node in nodes],
        "topics": [{"topic": one.topic, **({"error": error} if error else {}), "partitions": [
            {"partition": number, "leader": part.leader.id, "replicas": [{"id": node.id} for node in part.replicas],
             "isrs": [{"id": node.id} for node in part.in_sync_replicas]}
            for number, part in sorted(one.partitions.items())]} for one, error in topics],
    }
