"""``python -m faultkit``: see kills.py. Worker processes import this file too, so its imports are below the guard."""

if __name__ == "__main__":
    from faultkit.kills import main

    main()
