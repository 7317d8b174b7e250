"""What a failure to read or write means, in words: of the network, a server, a store, or a parser.

Drivers raise errors of their own, and those of fsspec for the web are all a `FileNotFoundError`; what tells is the
first error, of which theirs came.
"""

import errno
import http
import os
import re
import ssl
from collections.abc import Iterator

from pipeline.shared.text import one_line

_FORBIDDEN = (
    http.HTTPStatus.UNAUTHORIZED,
    http.HTTPStatus.FORBIDDEN,
    http.HTTPStatus.PROXY_AUTHENTICATION_REQUIRED,
    http.HTTPStatus.UNAVAILABLE_FOR_LEGAL_REASONS,
)
_LATER = http.HTTPStatus.REQUEST_TIMEOUT, http.HTTPStatus.TOO_MANY_REQUESTS
NO_RANGES = "its server sends files only whole, and of this format parts are read", "download it and name the file"
"""What happened, and what to do: as `explain` says it."""
_BROKEN = "the connection broke off before the end", "try again"
_SIGNED = "check the address, or name the authority that signed it in SSL_CERT_FILE"
_KINDS = {
    "SSLError": ("there is no secure connection to its server", "check the address and its port"),
    "gaierror": ("its host is not known", "check the address and the network"),
    "TimeoutError": ("its server did not answer in time", "try again later"),
    "InvalidURL": ("it is no address of the web", "check how it is written"),
    "ConnectionResetError": _BROKEN,
    "BrokenPipeError": _BROKEN,
    "ServerDisconnectedError": _BROKEN,
    "ClientPayloadError": _BROKEN,
}
"""By the name of a class, of Python or of aiohttp, which need not be installed."""
_KEYS = "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
_ELSEWHERE = "its bucket is in another region", "name that in AWS_REGION"
_REPLACED = "it was replaced while it was read", "run the same command again"
_S3 = {
    "NoSuchBucket": ("there is no such bucket", "check its name, and AWS_ENDPOINT_URL"),
    "InvalidAccessKeyId": ("its server does not know the access key", _KEYS),
    "SignatureDoesNotMatch": ("the secret key is not that of the access key", _KEYS),
    "ExpiredToken": ("the keys have expired", "log in again"),
    "RequestTimeTooSkewed": ("the clock of this machine is wrong", "set it"),
    "PreconditionFailed": _REPLACED,
    "InvalidRange": _REPLACED,
    "EntityTooLarge": ("it is too large to be sent at once", "make smaller parts"),
    "PermanentRedirect": _ELSEWHERE,
    "AuthorizationHeaderMalformed": _ELSEWHERE,
    "IllegalLocationConstraintException": _ELSEWHERE,
}
"""By the code in an answer of S3."""
_STATUS = re.compile(r"non-2xx status code: (\d+)")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_SILENT = (
    ("ConnectionRefused", (os.strerror(errno.ECONNREFUSED), "check AWS_ENDPOINT_URL, and whether the server runs")),
    ("dns error", ("its host is not known", "check AWS_ENDPOINT_URL and the network")),
    ("InvalidCertificate", ("the certificate of its server is not valid here", _SIGNED)),
    ("InvalidMessage", _KINDS["SSLError"]),
    ("TimedOut", _KINDS["TimeoutError"]),
    ("without LOCATION", _ELSEWHERE),
    ("HTTP error", _BROKEN),
)
"""By what is in the words of obstore where no answer came, the first that fits."""


def explain(error: BaseException) -> tuple[str, str]:
    """What happened, and what to do about it; neither has a line break."""
    for cause in reversed(list(_causes(error))):
        if said := _explain(cause):
            return said
    if isinstance(error, FileNotFoundError):
        return "it was not found", "check its name"
    return one_line(error), "mend it or fetch it again"


def is_missing(error: FileNotFoundError) -> bool:
    """Whether it says that there is nothing, and not that nobody could be asked."""
    return not any(_explain(cause) for cause in _causes(error))


def _causes(error: BaseException) -> Iterator[BaseException]:
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)


def _explain(error: BaseException) -> tuple[str, str] | None:
    status = getattr(error, "status", None)  # of aiohttp
    if isinstance(status, int):
        return _explain_status(status)
    if isinstance(error, ConnectionRefusedError) and error.errno:
        return os.strerror(error.errno), "check the address, and whether the server runs"
    if isinstance(error, ssl.SSLCertVerificationError):
        why = getattr(error, "verify_message", error)
        return f"the certificate of its server is not valid here ({why})", _SIGNED
    if type(error).__module__.startswith("obstore") or _STATUS.search(str(error)):
        return _explain_s3(str(error))
    if "range requests" in str(error):  # of fsspec, a ValueError as any other
        return NO_RANGES
    return next((_KINDS[kind.__name__] for kind in type(error).__mro__ if kind.__name__ in _KINDS), None)


def is_passing(error: BaseException) -> bool:
    """Whether an error of obstore may not come again: the server is busy or failed, or no answer came."""
    status = _STATUS.search(str(error))
    return is_busy(int(status[1])) if status else "HTTP error" in str(error)


def is_unreachable(error: BaseException) -> bool:
    """Whether an error of obstore says that there is no server."""
    return "kind: Connect" in str(error) or "kind: Builder" in str(error)


def is_past_the_end(error: BaseException) -> bool:
    """Whether an error of obstore says that a range begins where an object has ended."""
    return "<Code>InvalidRange</Code>" in str(error)


def is_busy(status: int) -> bool:
    """Whether a server that answers so may answer otherwise later."""
    return status in _LATER or status >= 500


def _explain_s3(said: str) -> tuple[str, str] | None:
    """What obstore raises has the answer of the server in its words, and how it came to be."""
    status, code = _STATUS.search(said), _CODE.search(said)
    if code and code[1] in _S3:
        return _S3[code[1]]
    if status and int(status[1]) in _FORBIDDEN:
        answer, _ = _explain_status(int(status[1])) or ("", "")
        return answer, f"{_KEYS}, and what they may do"
    if status:
        return _explain_status(int(status[1]))
    return next((words for sign, words in _SILENT if sign in said), None)


def _explain_status(status: int) -> tuple[str, str] | None:
    """None where the answer is that there is nothing."""
    if status == http.HTTPStatus.NOT_FOUND:
        return None
    words = f" {http.HTTPStatus(status).phrase}" if status in list(http.HTTPStatus) else ""
    answer = f"its server answered {status}{words}"
    if status in _FORBIDDEN:
        return answer, "check the address, and that you may read it"
    return answer, "try again later" if is_busy(status) else "check the address"
