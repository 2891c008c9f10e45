"""Least privilege: what in the real base image could lend somebody rights, listed by name."""

from __future__ import annotations

import pytest

from helioimages.engines.engine import RunOptions

pytestmark = [pytest.mark.engine, pytest.mark.network, pytest.mark.filterwarnings("ignore::ResourceWarning")]

#: Debian's own, each with its reason: changing one's account (shadow), mounting what fstab allows (mount), host keys
#: for host-based login (ssh-keysign), hiding the agent from ptrace (ssh-agent), asking for one's own password (PAM).
SETUID = """\
2755 root:_ssh /usr/bin/ssh-agent
2755 root:shadow /usr/bin/chage
2755 root:shadow /usr/bin/expiry
2755 root:shadow /usr/sbin/unix_chkpwd
4755 root:root /usr/bin/chfn
4755 root:root /usr/bin/chsh
4755 root:root /usr/bin/gpasswd
4755 root:root /usr/bin/mount
4755 root:root /usr/bin/newgrp
4755 root:root /usr/bin/passwd
4755 root:root /usr/bin/su
4755 root:root /usr/bin/umount
4755 root:root /usr/lib/openssh/ssh-keysign
"""
WRITABLE = """\
1777 root:root /run/lock
1777 root:root /tmp
1777 root:root /var/tmp
"""


def find(workspace, image: str, what: str) -> str:
    script = f"find / -xdev {what} -printf '%m %u:%g %p\\n' 2>/dev/null | LC_ALL=C sort"
    result = workspace.engine.run(image, ["bash", "-c", script], RunOptions(user="0"))
    assert result.exit_code == 0, result.log
    return result.log


def test_setuid_files_are_debians_needed_ones(workspace, image):
    assert find(workspace, image, "-type f -perm /6000").strip() == SETUID.strip()


def test_only_tmp_is_writable_for_all(workspace, image):
    assert find(workspace, image, "! -type l -perm -0002 ! -type c").strip() == WRITABLE.strip()


def test_nothing_of_the_environment_is_its_users(workspace, image):
    """A user who runs wild in a notebook cannot change what the next kernel imports."""
    assert find(workspace, image, "-path '/srv/*' ! -user root").strip() == ""
    assert find(workspace, image, "-path '/srv/*' ! -type l -perm /0022").strip() == ""
    result = workspace.engine.run(image, ["bash", "-c", "touch /srv/conda/envs/notebook/x 2>&1; id -u"])
    assert "Read-only file system" in result.log or "Permission denied" in result.log
    assert result.log.split()[-1] == "1000"


def test_no_file_has_capabilities(workspace, image):
    script = "import os\nfor d, _, fs in os.walk('/usr'):\n for f in fs:\n  p = d + '/' + f\n"
    script += "  if not os.path.islink(p) and 'security.capability' in os.listxattr(p): print(p)\n"
    result = workspace.engine.run(image, ["python", "-c", script], RunOptions(user="0"))
    assert (result.exit_code, result.log.strip()) == (0, "")
