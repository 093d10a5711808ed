"""Objects on S3, by the only primitives the release design needs: create once, read, list.

Nothing here overwrites, and only `delete`, for the garbage collection, deletes. Two writers of
one key are settled by S3 itself with `If-None-Match: *`; If-Match is never used, because it let
two racers win on SeaweedFS 4.48.
"""

import hashlib
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import TypeVar

import boto3
import botocore.exceptions as boto_errors
import tenacity
from botocore.config import Config

from aigq_tasks.errors import AigqError, ServiceAbsent

CONNECT_SECONDS = 2.0
READ_SECONDS = 8.0
RETRY_SECONDS = 10.0  # a restart of the embedded S3 takes 3 to 5 seconds
# Failures of the wire: they do not tell whether the request was carried out.
CONNECTION_ERRORS = (
    boto_errors.ConnectionError,
    boto_errors.HTTPClientError,
    boto_errors.IncompleteReadError,
)

T = TypeVar("T")
Keys = list[str]  # inside ObjectStore, `list` is the method


class _UnsettledError(Exception):
    """S3 answered 409 or 412 and holds nothing under the key: two writers collided and neither
    won."""


class ObjectStore:
    """One bucket of any S3 service; safe to share between threads.

    The bucket is created by the first write. Every method raises AigqError when S3 cannot be
    reached within ten seconds (twenty when it hangs), refuses the keys, or reports any other error.
    """

    def __init__(self, url: str, bucket: str, access_key: str, secret_key: str) -> None:
        self.url = url
        self.bucket = bucket
        session = boto3.session.Session()
        self._s3 = session.client(
            "s3",
            endpoint_url=url,
            region_name=session.region_name or "us-east-1",  # S3-compatible servers ignore it
            aws_access_key_id=access_key,
            aws_secret_access_key=secret_key,
            config=Config(
                connect_timeout=CONNECT_SECONDS,
                read_timeout=READ_SECONDS,
                retries={"total_max_attempts": 1},  # tenacity below is the one that retries
                s3={"addressing_style": "path"},
                max_pool_connections=16,
            ),
        )

    def put_once(self, key: str, data: bytes) -> bool:
        """Create `key` with `data` unless it exists. True: these bytes are there and are mine.

        An attempt that timed out may have been carried out all the same. When a later attempt
        then finds the key taken, the stored bytes decide: equal to mine means I won.
        """
        doubtful = False

        def attempt() -> bool:
            nonlocal doubtful
            try:
                self._create(key, data)
            except boto_errors.ClientError as error:
                if _status(error) not in (409, 412):
                    doubtful = doubtful or _is_transient(error)
                    raise
                if _status(error) == 412 and not doubtful and self._holds(key):
                    return False
                return self._is_mine(key, data, doubtful)
            except CONNECTION_ERRORS:
                doubtful = True
                raise
            return True

        return self._retrying(attempt)

    def put_blob(self, data: bytes) -> str:
        """Store `data` under its SHA-256 and return that digest (64 hex digits). Idempotent."""
        digest = sha256(data)
        self.put_once(blob_key(digest), data)
        return digest

    def get_blob(self, digest: str) -> bytes:
        """The bytes whose SHA-256 is `digest`; AigqError when they are absent or damaged."""
        data = self.get(blob_key(digest))
        if data is None:
            raise AigqError(
                f"object {digest} is not in bucket '{self.bucket}' at {self.url}: "
                "restore the bucket, or run the stage that made it again"
            )
        if sha256(data) != digest:
            raise AigqError(
                f"object {digest} in bucket '{self.bucket}' at {self.url} is damaged: "
                "its bytes have another SHA-256; restore it from a backup"
            )
        return data

    def get(self, key: str) -> bytes | None:
        """The bytes under `key`; None when there are none."""

        def attempt() -> bytes | None:
            try:
                return self._s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()
            except boto_errors.ClientError as error:
                if _code(error) in ("NoSuchKey", "NoSuchBucket"):
                    return None
                raise

        return self._retrying(attempt)

    def has(self, key: str) -> bool:
        """Whether there is anything under `key`."""

        def attempt() -> bool:
            try:
                self._s3.head_object(Bucket=self.bucket, Key=key)
            except boto_errors.ClientError as error:
                if _status(error) == 404:
                    return False
                raise
            return True

        return self._retrying(attempt)

    def list(self, prefix: str) -> Keys:
        """All keys that start with `prefix`, sorted."""

        def attempt() -> Keys:
            pages = self._s3.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=prefix
            )
            try:
                return sorted(found["Key"] for page in pages for found in page.get("Contents", []))
            except boto_errors.ClientError as error:
                if _code(error) == "NoSuchBucket":
                    return []
                raise

        return self._retrying(attempt)

    def age_hours(self, key: str) -> float:
        """Hours since `key` was written, by the clock of the S3 service; 0 if it is gone."""

        def attempt() -> float:
            try:
                head = self._s3.head_object(Bucket=self.bucket, Key=key)
            except boto_errors.ClientError as error:
                if _status(error) == 404:
                    return 0.0
                raise
            now = parsedate_to_datetime(head["ResponseMetadata"]["HTTPHeaders"]["date"])
            return (now - head["LastModified"]).total_seconds() / 3600

        return self._retrying(attempt)

    def delete(self, key: str) -> None:
        """Remove `key`; one that is not there is fine."""
        self._retrying(lambda: self._s3.delete_object(Bucket=self.bucket, Key=key))

    def ping(self) -> None:
        """Raise AigqError unless S3 answers now and takes the keys; a missing bucket is fine."""

        def attempt() -> None:
            try:
                self._s3.head_bucket(Bucket=self.bucket)
            except boto_errors.ClientError as error:
                if _status(error) != 404:
                    raise

        self._translating(attempt)

    def _create(self, key: str, data: bytes) -> None:
        try:
            self._s3.put_object(Bucket=self.bucket, Key=key, Body=data, IfNoneMatch="*")
        except boto_errors.ClientError as error:
            if _code(error) != "NoSuchBucket":
                raise
            self._create_bucket()
            self._s3.put_object(Bucket=self.bucket, Key=key, Body=data, IfNoneMatch="*")

    def _create_bucket(self) -> None:
        try:
            self._s3.create_bucket(Bucket=self.bucket)
        except boto_errors.ClientError as error:
            if _status(error) != 409:  # 409: somebody was faster
                raise

    def _holds(self, key: str) -> bool:
        try:
            self._s3.head_object(Bucket=self.bucket, Key=key)
        except boto_errors.ClientError as error:
            if _status(error) != 404:
                raise
            return False
        return True

    def _is_mine(self, key: str, data: bytes, doubtful: bool) -> bool:
        stored = self.get(key)
        if stored is None:
            raise _UnsettledError
        return doubtful and stored == data

    def _retrying(self, attempt: Callable[[], T]) -> T:
        retry = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_is_transient),
            wait=tenacity.wait_random_exponential(multiplier=0.1, max=1.0),
            stop=tenacity.stop_after_delay(RETRY_SECONDS),
            reraise=True,
        )
        return self._translating(lambda: retry(attempt))

    def _translating(self, attempt: Callable[[], T]) -> T:
        try:
            return attempt()
        except (*CONNECTION_ERRORS, _UnsettledError) as error:
            raise self._absent() from error
        except boto_errors.ClientError as error:
            if _is_transient(error):
                raise self._absent() from error
            if _status(error) in (401, 403):
                raise AigqError(
                    f"S3 at {self.url} refuses the keys ({_code(error)}): "
                    "check AIGQ_S3__ACCESS_KEY and AIGQ_S3__SECRET_KEY"
                ) from error
            raise AigqError(f"S3 at {self.url}, bucket '{self.bucket}': {error}") from error
        except boto_errors.BotoCoreError as error:
            raise AigqError(f"S3 at {self.url}, bucket '{self.bucket}': {error}") from error

    def _absent(self) -> ServiceAbsent:
        return ServiceAbsent(f"S3 does not answer at {self.url}: start the services with 'make up'")


def sha256(data: bytes) -> str:
    """SHA-256 of `data` as 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def blob_key(digest: str) -> str:
    """The key of a content-addressed object."""
    return f"objects/{digest}"


def _status(error: boto_errors.ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _code(error: boto_errors.ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _is_transient(error: BaseException) -> bool:
    if isinstance(error, boto_errors.ClientError):
        return _status(error) >= 500 or _status(error) == 429
    return isinstance(error, (*CONNECTION_ERRORS, _UnsettledError))
