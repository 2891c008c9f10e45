"""``python -m faultkit``: see kills.py. Worker processes import this file again, so nothing is imported above the guard."""

if __name__ == "__main__":
    from faultkit.kills import main

    main()
