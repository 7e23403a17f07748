"""A stand-in for the Hugging Face Hub: what huggingface_hub asks of it to fetch and to push models, on 127.0.0.1."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


class Hub:
    """Repositories in memory: name -> branch -> file -> content; one commit a branch.

    Attributes:
        repos: the content.
        private: repository -> token that may see it.
        cut: files of which only the first half is sent.
        broken: True answers 500.
        requests: (method, path) of all that was asked.
    """

    def __init__(self) -> None:
        self.repos: dict[str, dict[str, dict[str, bytes]]] = {}
        self.private: dict[str, str] = {}
        self.cut: set[str] = set()
        self.broken = False
        self.requests: list[tuple[str, str]] = []
        self.address = ''

    def branch_of(self, repo: str, revision: str) -> str | None:
        """The branch that a name or commit means."""
        return next((name for name in self.repos[repo] if revision in (name, self.commit(repo, name))), None)

    def commit(self, repo: str, branch: str) -> str:
        """The commit of a branch, made of its content."""
        digest = hashlib.sha1()
        for name, content in sorted(self.repos[repo][branch].items()):
            digest.update(name.encode() + content)
        return digest.hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    hub: Hub

    def log_message(self, *args: object) -> None:
        pass

    def _answer(self, content: object = None, status: int = 200, code: str = '', **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for key, value in {'Content-Length': str(len(body)), **headers}.items():
            self.send_header(key.replace('_', '-'), value)
        if code:
            self.send_header('X-Error-Code', code)
        self.end_headers()
        if self.command != 'HEAD':
            self.wfile.write(body)

    def _allowed(self, repo: str) -> bool:
        if repo not in self.hub.repos:
            self._answer({}, 404, 'RepoNotFound')
            return False
        wanted = self.hub.private.get(repo)
        if wanted is not None and self.headers.get('Authorization') != f'Bearer {wanted}':
            self._answer({}, 401, 'RepoNotFound')
            return False
        return True

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path))
        if self.hub.broken:
            self._answer({'error': 'out of order'}, 500)
        elif match := re.fullmatch(r'/api/models/([^/]+/[^/]+)/(revision|tree)/([^/]+)', path):
            repo, kind, revision = match.groups()
            if not self._allowed(repo):
                return
            if (branch := self.hub.branch_of(repo, revision)) is None:
                self._answer({}, 404, 'RevisionNotFound')
            elif kind == 'revision':
                self._answer({'id': repo, 'sha': self.hub.commit(repo, branch), 'siblings': []})
            else:
                self._answer([{'type': 'file', 'path': name, 'size': len(content),
                               'oid': hashlib.sha1(content).hexdigest()}
                              for name, content in self.hub.repos[repo][branch].items()])
        elif match := re.fullmatch(r'/([^/]+/[^/]+)/resolve/([^/]+)/(.+)', path):
            repo, revision, name = match.groups()
            if not self._allowed(repo):
                return
            branch = self.hub.branch_of(repo, revision)
            if branch is None or name not in self.hub.repos[repo][branch]:
                self._answer({}, 404, 'EntryNotFound' if branch else 'RevisionNotFound')
                return
            content = self.hub.repos[repo][branch][name]
            headers = {'ETag': f'"{hashlib.sha1(content).hexdigest()}"', 'X_Repo_Commit': self.hub.commit(repo, branch)}
            if self.command == 'GET' and name in self.hub.cut:
                content = content[:len(content) // 2]
            self._answer(content, **headers)
        else:
            self._answer({}, 404)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path))
        body = self.rfile.read(int(self.headers.get('Content-Length') or 0))
        if self.headers.get('Authorization') != 'Bearer writer':
            self._answer({'error': 'no write token'}, 403)
        elif path == '/api/repos/create':
            wanted = json.loads(body)
            repo = f'{wanted["organization"]}/{wanted["name"]}' if wanted.get('organization') else wanted['name']
            exists = repo in self.hub.repos
            if not exists:
                self.hub.repos[repo] = {'main': {}}
                if wanted.get('private') or wanted.get('visibility') == 'private':
                    self.hub.private[repo] = 'writer'
            self._answer({'url': f'{self.hub.address}/{repo}', 'id': repo}, 409 if exists else 200)
        elif match := re.fullmatch(r'/api/models/(.+)/branch/(.+)', path):
            self.hub.repos[match[1]].setdefault(match[2], {})
            self._answer({})
        elif path == '/api/validate-yaml':
            self._answer({'errors': [], 'warnings': []})
        elif re.fullmatch(r'/api/models/(.+)/preupload/(.+)', path):
            # Large files would go to Xet, whose protocol is the library's own business.
            self._answer({'files': [{'path': file['path'], 'shouldIgnore': False, 'uploadMode': 'regular'}
                                    for file in json.loads(body)['files']]})
        elif match := re.fullmatch(r'/api/models/(.+)/commit/(.+)', path):
            repo, branch = match.groups()
            files = self.hub.repos[repo][branch]
            for line in map(json.loads, body.decode().splitlines()):
                if line['key'] == 'file':
                    files[line['value']['path']] = base64.b64decode(line['value']['content'])
            commit = self.hub.commit(repo, branch)
            address = f'{self.hub.address}/{repo}/commit/{commit}'
            self._answer({'success': True, 'commitOid': commit, 'commitUrl': address})
        else:
            self._answer({}, 404)


@contextmanager
def serving() -> Iterator[Hub]:
    """A hub at `Hub.address` until the block ends."""
    hub = Hub()
    server = ThreadingHTTPServer(('127.0.0.1', 0), type('Handler', (_Handler,), {'hub': hub}))
    hub.address = f'http://127.0.0.1:{server.server_port}'
    thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.05}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
