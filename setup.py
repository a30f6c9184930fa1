"""Build of the compiled modules; everything else about the project is in pyproject.toml.

The compiled modules are ordinary Python files with a .pxd beside them: Cython compiles them, and without a compiler the
same files run as they are, several times slower on the data path. PGROUTER_BUILD selects what happens:
auto (default: compile, or fall back with a loud warning), require (fail without a compiler), skip (do not compile).
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

COMPILED = [
    "pgrouter/auth/scram.py",
    "pgrouter/auth/client.py",
    "pgrouter/auth/conversation.py",
    "pgrouter/net/send_buffer.py",
    "pgrouter/net/poller.py",
    "pgrouter/net/layer.py",
    "pgrouter/net/stream.py",
    "pgrouter/net/codec.py",
    "pgrouter/net/bytes_stream.py",
    "pgrouter/net/sealed.py",
    "pgrouter/net/acceptor.py",
    "pgrouter/protocol/framing.py",
    "pgrouter/protocol/outstanding.py",
    "pgrouter/routing/fingerprint.py",
    "pgrouter/routing/tree.py",
    "pgrouter/routing/weight.py",
    "pgrouter/routing/usage.py",
    "pgrouter/routing/verdict.py",
    "pgrouter/routing/cache.py",
    "pgrouter/session/prepared.py",
    "pgrouter/server/login.py",
    "pgrouter/server/replay.py",
    "pgrouter/server/session.py",
    "pgrouter/server/peer.py",
    "pgrouter/server/connection.py",
    "pgrouter/pool/member.py",
    "pgrouter/pool/demand.py",
    "pgrouter/pool/balancer.py",
    "pgrouter/pool/waiting.py",
    "pgrouter/pool/pool.py",
    "pgrouter/proxy/unnamed.py",
    "pgrouter/proxy/names.py",
    "pgrouter/proxy/held.py",
    "pgrouter/proxy/statements.py",
    "pgrouter/proxy/session.py",
    "pgrouter/proxy/batch.py",
    "pgrouter/proxy/deferred.py",
    "pgrouter/proxy/requester.py",
    "pgrouter/proxy/link.py",
    "pgrouter/proxy/replica.py",
    "pgrouter/proxy/scanner.py",
    "pgrouter/proxy/dispatcher.py",
    "pgrouter/proxy/client.py",
    "pgrouter/proxy/client_peer.py",
    "pgrouter/proxy/startup_template.py",
    "pgrouter/proxy/registry.py",
    "pgrouter/proxy/responder.py",
    "pgrouter/proxy/login.py",
    "pgrouter/proxy/login_responder.py",
    "pgrouter/proxy/listener.py",
]
OPENSSL = "pgrouter.net.openssl"  # a .pyx: it has no uncompiled version, Python's ssl module takes its place
LIBRARIES = ["ssl", "crypto"]
BUILD = os.environ.get("PGROUTER_BUILD", "auto")
if BUILD not in ("auto", "require", "skip"):
    sys.exit(f"PGROUTER_BUILD={BUILD}: expected auto, require or skip")


class BuildCompiledModules(build_ext):
    """Compile the modules; with PGROUTER_BUILD=auto a missing compiler causes a loud warning, not an error."""

    def run(self) -> None:
        self.parallel = self.parallel or os.cpu_count()  # for the C compiler; a minute on one core
        try:
            require_compiler()
            c_files = {module.name: module.sources for module in translated(self.extensions)}
            for module in self.extensions:  # modify these objects: setuptools keeps hidden state in them
                module.sources = c_files[module.name]
            if self.extensions and not has_openssl():
                self.extensions = [module for module in self.extensions if module.name != OPENSSL]
                say("TLS will be slower: by Python's ssl. Install OpenSSL's headers (libssl-dev), and build again.")
            super().run()
        except Exception as error:
            if BUILD == "require":
                raise
            self.extensions = []
            say(
                f"pgrouter was NOT compiled ({error}).",
                "pgrouter runs, correct but SLOW. Install a C compiler and Python's headers, then build again.",
            )


def say(*lines: str) -> None:
    """Print lines that cannot be overlooked; pip -v and `make` show them."""
    rule = "*" * 100
    print("\n".join(["", rule, *(f"*** {line}" for line in lines), rule, ""]), file=sys.stderr)  # noqa: T201


def has_openssl() -> bool:
    """Whether the compiler finds OpenSSL's headers and its library."""
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory, "openssl.c")
        source.write_text("#include <openssl/ssl.h>\nint main(void) { return TLS_method() == NULL; }\n")
        words = [*compiler, str(source), "-o", str(Path(directory, "openssl")), *(f"-l{name}" for name in LIBRARIES)]
        return subprocess.run(words, capture_output=True, check=False).returncode == 0  # noqa: S603


def require_compiler() -> None:
    """Raise OSError if this machine cannot compile, before spending a minute on translation."""
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    if not shutil.which(compiler) and not shutil.which("cc"):
        raise OSError("there is no C compiler")
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        raise OSError("Python's headers are missing")


def extensions() -> list[Extension]:
    """Return one extension per compiled module."""
    if BUILD == "skip":
        return []
    args = ["-O2", "-g0"]
    modules = [Extension(path[:-3].replace("/", "."), [path], extra_compile_args=args) for path in COMPILED]
    openssl = Extension(OPENSSL, [f"{OPENSSL.replace('.', '/')}.pyx"], libraries=LIBRARIES, extra_compile_args=args)
    return [*modules, openssl]


def translated(modules: list[Extension]) -> list[Extension]:
    """Translate them with Cython: only when they are built, not when just the version or file list is requested."""
    from Cython.Build import cythonize

    return cythonize(
        modules,
        build_dir="build/cython",
        language_level=3,
        nthreads=os.cpu_count(),
        compiler_directives={"boundscheck": False, "wraparound": False, "cdivision": True, "initializedcheck": False},
    )


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildCompiledModules})
