"""A hub on this machine: as much of the Hugging Face Hub's protocol as downloading a data set needs."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

OWNER = "farama-minari"


class Hub:
    """Serves `folder`: each folder in it is a repository of `OWNER`. `requests` are what was asked for."""

    def __init__(self, folder):
        self.folder, self.requests = folder, []
        self.cut = None
        """Of files whose name ends so, only half is sent."""
        hub = self

        class Handler(_Handler):
            pass

        Handler.hub = hub
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def files(self, repo):
        root = self.folder / repo
        return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())

    def commit(self, repo):
        return hashlib.sha1(f"{repo} {self.files(repo)}".encode()).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer(head=True)

    def do_GET(self):
        self.answer(head=False)

    def answer(self, head):
        parts = urlsplit(self.path)
        words = unquote(parts.path).strip("/").split("/")
        self.hub.requests.append(unquote(parts.path))
        if words == [""]:
            return self.send({}, head)
        if words[:2] == ["api", "datasets"] and len(words) == 2:
            search = parse_qs(parts.query).get("search", [""])[0]
            repos = [p.name for p in sorted(self.hub.folder.iterdir()) if search in p.name]
            return self.send([{"id": f"{OWNER}/{repo}", "_id": repo} for repo in repos], head)
        if words[:2] == ["api", "datasets"]:
            return self.api(words[2], words[3], words[4:], head)
        if words[0] == "datasets" and words[3] == "resolve":
            return self.resolve(words[1], words[2], "/".join(words[5:]), head)
        return self.missing("RepoNotFound", head)

    def api(self, owner, repo, rest, head):
        if owner != OWNER or not (self.hub.folder / repo).is_dir():
            return self.missing("RepoNotFound", head)
        files, commit = self.hub.files(repo), self.hub.commit(repo)
        if rest[:1] == ["tree"]:
            sizes = {f: (self.hub.folder / repo / f).stat().st_size for f in files}
            return self.send([{"type": "file", "path": f, "size": sizes[f], "oid": f} for f in files], head)
        said = {"id": f"{owner}/{repo}", "sha": commit, "siblings": [{"rfilename": f} for f in files]}
        return self.send(said, head)

    def resolve(self, owner, repo, file, head):
        path = self.hub.folder / repo / file
        if owner != OWNER or not (self.hub.folder / repo).is_dir():
            return self.missing("RepoNotFound", head)
        if not path.is_file():
            return self.missing("EntryNotFound", head)
        data = path.read_bytes()
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha1(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", self.hub.commit(repo))
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if head:
            return None
        if self.hub.cut and file.endswith(self.hub.cut):
            self.wfile.write(data[: len(data) // 2])
            self.close_connection = True
            return None
        return self.wfile.write(data)

    def missing(self, code, head):
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def send(self, value, head):
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if not head:
            self.wfile.write(data)
