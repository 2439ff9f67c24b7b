"""A FastAPI application that sends what it is given to Kafka, and answers when the brokers have it.

    KAFKA_BOOTSTRAP_SERVERS=localhost:9092 uvicorn --app-dir examples fastapi_app:app
    curl -X POST --data 'two apples' localhost:8000/orders/42

One producer for each worker process, made when its loop runs and closed when it ends. Needs fastapi and uvicorn.
"""

import os
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException, Request

from kafkapp import ErrorCode, KafkaException
from kafkapp.aio import KafkaProducer

PROPERTIES = {
    "linger.ms": 0,  # the shortest wait of a request
    "message.timeout.ms": 5000,  # the longest: otherwise a record may live five minutes
}


@asynccontextmanager
async def lifespan(app):
    servers = os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092")
    async with KafkaProducer({"bootstrap.servers": servers, **PROPERTIES}) as producer:
        app.state.producer = producer
        app.state.dropped = 0
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/orders/{order}")
async def order(order: str, request: Request):
    """Waits for the brokers: an order must not be lost."""
    try:
        metadata = await request.app.state.producer.send("orders", await request.body(), key=order)
    except KafkaException as exc:
        raise HTTPException(413 if isinstance(exc, ValueError) else 503, exc.error.message) from exc
    return {"partition": metadata.partition, "offset": metadata.offset}


@app.post("/clicks", status_code=202)
async def clicks(request: Request):
    """Waits for nobody: while the brokers are away, clicks that find no room are dropped, and counted."""
    error = request.app.state.producer.try_send("clicks", await request.body())
    if error and error.code == ErrorCode.RD_KAFKA_RESP_ERR__QUEUE_FULL:
        request.app.state.dropped += 1
    elif error:
        raise HTTPException(413, error.message)


@app.get("/health")
async def health(request: Request):
    return {"outstanding": len(request.app.state.producer), "dropped": request.app.state.dropped}
