"""What gunicorn refuses, in the words of the contract: a status and a plain sentence, never a name of the library's."""

from __future__ import annotations

from gunicorn.http import errors

REFUSALS = (errors.ParseException, errors.ExpectationFailed, errors.ConfigurationProblem)

_OTHERWISE = (400, "the request is not well formed")
_TOLD: dict[type[Exception], tuple[int, str]] = {
    errors.LimitRequestLine: (414, "the request line is too long"),
    errors.LimitRequestHeaders: (431, "the header fields are too large or too many"),
    errors.ExpectationFailed: (417, "this expectation cannot be met"),
    errors.UnsupportedTransferCoding: (501, "only the transfer coding chunked is known"),
    errors.InvalidHTTPVersion: (400, "this version of HTTP is not spoken here: use HTTP/1.1"),
    errors.InvalidRequestLine: (400, "the request line is not well formed"),
    errors.InvalidRequestMethod: (400, "the method is not well formed"),
    errors.InvalidHeaderName: (400, "the name of a header field is not well formed"),
    errors.InvalidHeader: (400, "a header field is not well formed, is repeated, or contradicts another"),
    errors.ObsoleteFolding: (400, "a header field may not go on in the next line"),
}


def told(error: BaseException) -> tuple[int, str]:
    """The status and the detail of one of REFUSALS."""
    return next((answer for kind, answer in _TOLD.items() if isinstance(error, kind)), _OTHERWISE)
