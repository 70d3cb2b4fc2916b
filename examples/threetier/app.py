"""The middle tier in Python: Flask, run by gunicorn. POOL=0 connects to Redis for each request."""

import itertools
import os

import redis
from flask import Flask

app = Flask(__name__)
calls = itertools.count(1)
host, port = os.environ["REDIS"].rsplit(":", 1)
pool = redis.ConnectionPool(host=host, port=int(port), max_connections=64, socket_timeout=2)


def connection():
    if os.environ.get("POOL", "1") == "1":
        return redis.Redis(connection_pool=pool)
    return redis.Redis(host=host, port=int(port), socket_timeout=2, single_connection_client=True)


@app.get("/test/<n>")
def test(n):
    store = connection()
    try:
        key = f"test:{n}"
        store.set(key, next(calls))
        return f"{key} = {int(store.get(key))}\n", {"Content-Type": "text/plain; charset=utf-8"}
    finally:
        store.close()
