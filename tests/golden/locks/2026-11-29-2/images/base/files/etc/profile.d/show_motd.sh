# JupyterLab's terminal is a login shell without login(1), which would print this. PS1 is no sign of a terminal: dash has one
# always.
case "$-" in
  *i*)
    if [ -r /etc/motd ] && [ ! -e "${HOME}/.hushlogin" ]; then
      cat /etc/motd
      helioimages-info --line 2>/dev/null || true
    fi
    ;;
esac
