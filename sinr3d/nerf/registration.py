"""What nerfstudio's entry points load: the methods of `ns-train`.

nerfstudio loads the entry points of all plugins at every start and does not catch what they raise. So this
module imports whatever is broken: its methods are then absent, with a warning, and the others work.
"""

import warnings
from typing import Any

sinr_nerf: Any = None
sinr_nerf_real: Any = None
sinr_nerf_shacira: Any = None
sinr_nerf_tiny: Any = None

try:
    from sinr3d.nerf import methods

    sinr_nerf = methods.sinr_nerf
    sinr_nerf_real = methods.sinr_nerf_real
    sinr_nerf_shacira = methods.sinr_nerf_shacira
    sinr_nerf_tiny = methods.sinr_nerf_tiny
except Exception as error:  # any reason: see above
    warnings.warn(f"the methods of sinr3d are not available: {error!r}", stacklevel=2)
