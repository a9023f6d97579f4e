# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Headers of a request that nothing on the host replaces. Private to the collection."""

from __future__ import annotations

try:
    import requests
except ImportError:
    requests = None


class Headers(requests.auth.AuthBase if requests else object):
    """Sets headers as an auth, because requests replaces an Authorization header by what it finds in ~/.netrc."""

    def __init__(self, headers: dict[str, str]) -> None:
        self.headers = headers

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers.update(self.headers)
        return request
