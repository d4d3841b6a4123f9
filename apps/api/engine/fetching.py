"""Fetches the images and files that clients name by URL, as far as the operator lets them."""

from __future__ import annotations

import asyncio

import structlog
from yarl import URL

from apps.api.conf import conf
from apps.api.protocol.media import MediaProblem
from apps.api.protocol.media_types import Labelled
from apps.tools.download import DownloadError, TooLarge, download
from apps.tools.urlguard import Refused, URLGuard

log = structlog.stdlib.get_logger(__name__)

AT_ONCE = 4


def is_remote(source: str) -> bool:
    """Whether this is a URL that somebody has to fetch."""
    return source[:8].lower().startswith(("http://", "https://"))


class Fetcher:
    """The URLs of one request: a few at a time, within one time limit and one budget of bytes."""

    def __init__(self) -> None:
        self._guard = URLGuard(allow_private=conf.MEDIA_ALLOW_PRIVATE_NETWORKS)
        self._deadline = asyncio.get_running_loop().time() + conf.MEDIA_TIMEOUT
        self._turn = asyncio.Semaphore(AT_ONCE)
        self._urls, self._bytes = conf.MEDIA_MAX_URLS, conf.MEDIA_TOTAL_BYTES

    async def get(self, url: str, *, image: bool) -> Labelled:
        """What is there. Raises MediaProblem."""
        if conf.MEDIA_URLS != "fetch":
            raise MediaProblem("unsupported_value", "URLs are not fetched here: send the data.")
        self._urls -= 1
        if self._urls < 0:
            raise MediaProblem(
                "unsupported_value", f"More than {conf.MEDIA_MAX_URLS} URLs are too many."
            )
        try:
            async with asyncio.timeout_at(self._deadline), self._turn:
                return await self._download(url, image=image)
        except TimeoutError:
            reason = f"It took longer than {conf.MEDIA_TIMEOUT:g} seconds."
        except Refused as exc:
            log.warning("media URL refused", host=_host(url), reason=str(exc))
            code = "invalid_image_url" if image else "invalid_value"
            raise MediaProblem(code, f"The URL cannot be fetched. {exc}") from exc
        except TooLarge as exc:
            code = "image_too_large" if image else "file_too_large"
            raise MediaProblem(code, f"What the URL names is too large. {exc}") from exc
        except DownloadError as exc:
            reason = str(exc)
        log.info("media not fetched", host=_host(url), reason=reason)
        code = "failed_to_download_image" if image else "failed_to_download_file"
        raise MediaProblem(code, f"The URL could not be fetched. {reason}")

    async def _download(self, url: str, *, image: bool) -> Labelled:
        largest = conf.MEDIA_IMAGE_BYTES if image else conf.MEDIA_FILE_BYTES
        found = await download(
            url,
            guard=self._guard,
            largest=min(largest, self._bytes),
            time_limit=conf.MEDIA_TIMEOUT,
            accept="image/*" if image else "*/*",
        )
        self._bytes = max(0, self._bytes - len(found.data))
        return Labelled(found.media_type, found.charset, found.data)


def _host(url: str) -> str | None:
    """What of a URL may be logged: paths and queries hold secrets."""
    try:
        return URL(url).host
    except ValueError:
        return None
