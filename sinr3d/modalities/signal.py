from sinr3d.fit.signal import Evaluate, Signal  # noqa
