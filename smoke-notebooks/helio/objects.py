"""Reading whole objects from S3, anonymously, over kept-alive connections: one store a bucket and process."""

from __future__ import annotations

import os
from functools import lru_cache

import obstore
from obstore.store import S3Store


def fetch(key: str) -> memoryview:
    """Return the object `s3://bucket/path`, not copied. `AWS_ENDPOINT_URL` and `AWS_DEFAULT_REGION` say where."""
    bucket, _, path = key.removeprefix("s3://").partition("/")
    return memoryview(obstore.get(_store(bucket), path).bytes())


@lru_cache
def _store(bucket: str) -> S3Store:
    return S3Store(
        bucket,
        region=os.environ.get("AWS_DEFAULT_REGION", "us-east-1"),
        endpoint=os.environ.get("AWS_ENDPOINT_URL"),
        skip_signature=True,
        client_options={"allow_http": True, "timeout": "120s"},
    )
