# JupyterLab's terminal is a login shell without login(1), which would print this.
if [ -n "${PS1:-}" ] && [ -r /etc/motd ] && [ ! -e "${HOME}/.hushlogin" ]; then
  cat /etc/motd
fi
