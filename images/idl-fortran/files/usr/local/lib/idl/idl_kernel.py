"""A Jupyter kernel for IDL's language: GDL, or licensed IDL where it is mounted.

    python idl_kernel.py PROGRAM -f CONNECTION_FILE

A cell is compiled and run as a main program, so loops and procedures may span lines. Lines that begin with a dot or @
go to the prompt as they are. Plots are drawn into the Z buffer and shown below the cell.
"""

from __future__ import annotations

import base64
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from ipykernel.kernelapp import IPKernelApp
from ipykernel.kernelbase import Kernel

_MARK = "-- end of cell --"
_RESET = re.compile(r"\s*\.(res|ful)", re.IGNORECASE)
_DIRECT = re.compile(r"\s*(\.[a-z]|@)", re.IGNORECASE)
_WORD = re.compile(r"[a-z_][a-z0-9_$]*")
_LITERAL = re.compile(r"""'[^']*'?|"[^"]*"?|;.*""")
_OPENS = {"begin", "case", "switch"}
_CLOSES = {"end", "endif", "endelse", "endfor", "endforeach", "endwhile", "endrep", "endcase", "endswitch"}
_FAILED = re.compile(r"% (Execution halted|.*[Ss]yntax error|Interrupted)")
# Compiling is no news, and the main program's name is ours.
_NOISE = re.compile(r"% Compiled module: |% Loaded DLM: ")
_SETUP = (
    f".compile {Path(__file__).with_name('idl_kernel_plot.pro')}",
    "set_plot, 'Z'",
    "device, set_resolution=[800, 560], decomposed=0",
    "!p.charsize = 1.5",
)


def program_of(cell: str) -> str:
    """Return a cell's lines as a file for `.run`: with the `end` of its main program, if it has one without."""
    depth, main = 0, False
    for line in cell.lower().splitlines():
        words = _WORD.findall(_LITERAL.sub(" ", line))
        defines = depth == 0 and words[:1] in (["pro"], ["function"])
        if depth == 0 and words and not defines:
            main = True
        depth += defines + sum((word in _OPENS) - (word in _CLOSES) for word in words)
    return cell.rstrip() + ("\nend\n" if main and depth >= 0 else "\n")


class IDLKernel(Kernel):
    """One process of GDL or IDL that reads commands from a pipe."""

    implementation = "idl_kernel"
    implementation_version = "1"
    program = "gdl"
    language_info = {"name": "idl", "mimetype": "text/x-idl", "file_extension": ".pro", "codemirror_mode": "idl"}  # noqa: RUF012
    _process: subprocess.Popen[str] | None = None

    @property
    def banner(self) -> str:
        """Return what consoles greet with."""
        return f"IDL's language, by {self.program}"

    def do_execute(self, code, silent, store_history=True, user_expressions=None, allow_stdin=False, **_):
        """Run one cell."""
        try:
            failed = self._run(code, silent)
        except (BrokenPipeError, EOFError):
            self._process = None
            failed = f"{self.program} has ended; the next cell starts it again"
            self._say("stderr", failed + "\n")
        if not failed:
            return {"status": "ok", "execution_count": self.execution_count, "payload": [], "user_expressions": {}}
        error = {"ename": self.program, "evalue": failed, "traceback": [failed]}
        if not silent:
            self.send_response(self.iopub_socket, "error", error)
        return {"status": "error", "execution_count": self.execution_count, **error}

    def do_shutdown(self, restart):
        """End the process."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None
        return {"status": "ok", "restart": restart}

    def _run(self, code: str, silent: bool) -> str:
        """Run a cell and return the line that says why it failed, or nothing."""
        if self._process is None:
            self._start()
        lines: list[str] = []
        blocks = _blocks(code)
        for at, (direct, text) in enumerate(blocks):
            if direct:
                lines += text.splitlines()
            else:
                path = self._folder / f"cell{at}.pro"
                path.write_text(program_of(text))
                lines.append(f".run {path}")
        failed = ""
        reset = any(_RESET.match(line) for line in lines)
        if reset:
            lines += _SETUP
        for line in self._exchange([*lines, "retall"]):
            if _NOISE.match(line):
                continue
            if _FAILED.search(line):
                failed = failed or line
            if not silent:
                self._say("stderr" if line.startswith("%") else "stdout", line + "\n")
        if reset:
            self._mark_plot()
        if not silent:
            self._show()
        return failed

    def _start(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="idl-kernel-"))
        argv = ["/usr/bin/gdl", "-q"] if self.program == "gdl" else ["/usr/local/bin/idl", "-quiet"]
        # A session of its own: an interrupt reaches it once, from us.
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            bufsize=1,
            start_new_session=True,
        )
        greeting = []
        try:
            for line in self._exchange(_SETUP):
                greeting.append(line + "\n")
        except (BrokenPipeError, EOFError):
            # What it lacks, e.g. a licence, it says in its own words.
            self._say("stderr", "".join(greeting))
            raise
        self._mark_plot()

    def _exchange(self, lines):
        """Send lines to the prompt and yield what comes back."""
        process = self._process
        process.stdin.write("\n".join([*lines, f"print, '{_MARK}'", ""]))
        while True:
            try:
                line = process.stdout.readline()
            except KeyboardInterrupt:
                process.send_signal(2)
                continue
            if not line:
                raise EOFError
            if line.rstrip() == _MARK:
                return
            yield line.rstrip("\n")

    def _show(self) -> None:
        """Show the plot, if something was drawn since the last."""
        path = self._folder / "plot.png"
        path.unlink(missing_ok=True)
        # The dot in the corner is gone when a plot has cleared the page, and the page differs when one was added to.
        list(self._exchange([f"idl_kernel_plot, '{path}'", "retall"]))
        if path.exists() and (png := path.read_bytes()) != self._blank:
            data = {"image/png": base64.b64encode(png).decode(), "text/plain": "plot"}
            self.send_response(self.iopub_socket, "display_data", {"data": data, "metadata": {}})
            self._mark_plot()

    def _mark_plot(self) -> None:
        path = self._folder / "blank.png"
        list(self._exchange(["if !d.name eq 'Z' then tv, bytarr(1, 1) + 128b, 0, 0", f"idl_kernel_plot, '{path}'"]))
        self._blank = path.read_bytes() if path.exists() else b""

    def _say(self, name: str, text: str) -> None:
        self.send_response(self.iopub_socket, "stream", {"name": name, "text": text})


def _blocks(cell: str) -> list[tuple[bool, str]]:
    """Split a cell into runs of lines: (goes to the prompt as it is, text)."""
    found: list[tuple[bool, str]] = []
    for line in cell.splitlines():
        direct = bool(_DIRECT.match(line))
        if found and found[-1][0] == direct:
            found[-1] = (direct, f"{found[-1][1]}\n{line}")
        elif line.strip():
            found.append((direct, line))
    return found


if __name__ == "__main__":
    IDLKernel.program = sys.argv.pop(1)
    IPKernelApp.launch_instance(kernel_class=IDLKernel)
