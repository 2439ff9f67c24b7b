"""KafkaClient: the base of what users create. Owns a client; its names and properties, the cluster's topics."""
from kafkapp.common.options import EventsPollingOption
from kafkapp.common.texts import check_text
from kafkapp.config.properties import Properties

cimport cython

from kafkapp.client.blocking_calls cimport fetch_metadata, list_topics
from kafkapp.client.client cimport Client
from kafkapp.client.handle cimport OPEN, Service
from kafkapp.client.shutdown cimport abandon, close
from kafkapp.common.atomics cimport KP_READ
from kafkapp.common.timeouts cimport deadline_of

cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(object thing)


cdef class KafkaClient:
    """Base of all that users create: owns its client. Not instantiated itself."""

    cdef int open_client(self, object properties, int thread, Service service, dict defaults) except -1:
        if self.client is not None:
            raise RuntimeError(f"{type(self).__name__}.__init__() was called already")
        cdef Client client = Client(properties, thread, service, defaults)
        try:
            with cython.critical_section(self):
                if self.client is not None:
                    raise RuntimeError(f"{type(self).__name__}.__init__() was called by two threads at once: one of "
                                       "them keeps its client")
                self.begin(client)
                self.client = client
        except:             # nobody else can close this client
            close(client, 0)
            raise
        return 0

    cdef int begin(self, Client client) except -1:
        """Create what is kept beside the client."""
        return 0

    cdef Client get_client(self):
        if self.client is None:
            raise RuntimeError(f"{type(self).__name__}.__init__() was not called: a subclass must call "
                               f"super().__init__() first")
        return self.client

    @property
    def name(self):
        """The name of the client in librdkafka's logs, str. Source: rd_kafka_name(); KafkaClient::name."""
        return self.get_client().name

    @property
    def client_id(self):
        """The `client.id` in force, str; the program's name unless it was set. Source: KafkaClient::clientId."""
        return self.get_client().client_id

    @property
    def properties(self):
        """A copy of the Properties in force: those given, and kafkapp's defaults. Source: KafkaClient::properties."""
        return Properties(self.get_client().properties)

    @property
    def closed(self):
        """Whether `close` has been called, bool. False again if that `close` was interrupted."""
        return KP_READ(self.get_client().state) != OPEN

    def get_property(self, name):
        """The value in force of any property.

        Args:
            name: the property's name.
        Returns:
            The value as text, also after `close`; None: it has no value, or librdkafka does not know it.
        Source: rd_kafka_conf_get(); KafkaClient::getProperty.
        """
        return self.get_client().get_property(name)

    def fetch_broker_metadata(self, topic, timeout=10):
        """Ask the cluster for a topic's partitions, leaders and replicas.

        Blocks, without the GIL.

        Args:
            topic: the topic's name.
            timeout: seconds (int, float or timedelta), None waits forever.
        Returns:
            A BrokerMetadata.
        Raises:
            KafkaException: RD_KAFKA_RESP_ERR__TIMED_OUT or RD_KAFKA_RESP_ERR__TRANSPORT: no broker answered;
                RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART and other errors of the topic.
            RuntimeError: inside a callback of this client, after `close`, or in a forked child.
        Source: rd_kafka_metadata(); KafkaClient::fetchBrokerMetadata.
        """
        return fetch_metadata(self.get_client(), check_text("topic", topic), deadline_of(timeout))

    def list_topics(self, timeout=10):
        """Ask the cluster for all topics that this client may see, internal ones too.

        Blocks, without the GIL.

        Args:
            timeout: seconds (int, float or timedelta), None waits forever.
        Returns:
            A dict of each topic's name, in their order, and how many partitions it has. `fetch_broker_metadata` has
            more of one topic.
        Raises:
            KafkaException: RD_KAFKA_RESP_ERR__TIMED_OUT or RD_KAFKA_RESP_ERR__TRANSPORT: no broker answered.
            RuntimeError: inside a callback of this client, after `close`, or in a forked child.
        Source: rd_kafka_metadata().
        """
        return list_topics(self.get_client(), deadline_of(timeout))

    def __enter__(self):
        self.get_client().check_open()
        return self

    def __del__(self):
        if self.client is not None:
            # The last reference is gone, unless the garbage collector or a caller of __del__ holds another.
            abandon(self.client, Py_REFCNT(self) == 1)

    def __repr__(self):
        if self.client is None:
            return f"<{type(self).__name__} without a client>"
        service = self.client.service
        return (f"<{type(self).__name__} {self.client.name}: {service.count()} {service.unit} outstanding"
                f"{'' if KP_READ(self.client.state) == OPEN else ', closed'}>")

    def __reduce__(self):
        raise TypeError(f"a {type(self).__name__} cannot be pickled or copied: it owns connections and "
                        f"threads; create one in each process")

    def _ledger(self):
        """What is held for operations that are outstanding: dict of names and counts. For tests."""
        return self.get_client().ledger()


cdef bint is_auto(object events_polling) except -1:
    """Whether a background thread runs the callbacks."""
    polling = EventsPollingOption.member(events_polling)
    if polling is None:
        raise TypeError(f"events_polling must be an EventsPollingOption, not {events_polling!r}")
    return polling is EventsPollingOption.Auto
