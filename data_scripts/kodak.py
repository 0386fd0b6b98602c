"""The 24 pictures of the Kodak Lossless True Color Image Suite, 768 x 512 or 512 x 768, PNG, 15 MB in all.

    python data_scripts/kodak.py -o data/kodak
    python data_scripts/kodak.py -o data/kodak --from-dir ~/Downloads

Source: http://r0k.us/graphics/kodak/ (Rich Franzen). Licence: released by the Eastman Kodak Company for
unrestricted usage. A download that broke off goes on where it stopped; pictures that are there are checked
and left alone.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from sinr3d.bench.datasets import RemoteFile, fetch, place, run_script, say
from sinr3d.errors import UsageError

ADDRESS = "http://r0k.us/graphics/kodak/kodak/"

# of the files at that address; several public lists of them agree
SHA256 = (
    "a56e27cbf5f843c048b6af1d6e090760e9c92fadba88b7dee0205918a37523bd",
    "4f4b74a79237e311d72cad958237b5f7088d8bce1c82305ebefe1a70e3022dfd",
    "e25ca1ff2f0c0cb5fdfd5f9b0a0bb21ac4c3de3c84a67f35b09a85d3306249db",
    "e3b946107c5d3441c022f678d0c3caf1e224d81b1604ba840a4f88e562de61aa",
    "10349e963c5c813d327852f82c1795fa4148d69fedffc4c589bee458e3ac3d53",
    "363510303b715d4cbc384e1ce227e466b613a09e1b71ae985882bf8e7fbd9b18",
    "b77d3f006f42414bb242222e0482e750c0fb9e5ee8d4bed2f6f11c5605fe54a4",
    "ba23983c76b4832ee0e8af0592664756841a16779acd69f792e268fb6d13d6e7",
    "6a4361c2fc194feb4edaa9f9a4a0620fb9943e460ac7fdf037fb0f6dd6607a7d",
    "9dfb70f5867c29ff9ed6313683f19b3d867849e40fbc0c4c54a4a89df341cf23",
    "7936814b58b5387fce2e4e2488b4ec830dadd95fa9520f358ddb30990b50f2b6",
    "d78c37c2f04f23761ed2367dd77e2db584ddd4c3950833fecf89f199a8126980",
    "bc34a3ce58dea09dce1704c997171602de90cb34d0c8503a988b77f473d39b08",
    "55a94550ff18f3246c4074fd32b77b0c74447c26b6ad274d564d999c0450ba6e",
    "7538cbb80cb9103606c48b806eae57d56c885c7f90b9b3be70a41160f9cbb683",
    "a89c7268ccd4718ba424a99fc4643c572cf692ca6eae887185ceb4e9f11d2e54",
    "37afcc89fbdcb76d9518e04b2fc011027e2f4cd14b3b2f83cefd721641a47c5b",
    "1a9258c365988961d87a0598725b609139c303ad48a5aad6c503c3b1a87849aa",
    "b7450b264b1b0a411390d8931b112c27905a992520fc90569dc4b920aa32bbdc",
    "3b46c71e3b92a563820ba32936be8330c586c41f938efd94be938386aae4328a",
    "ac958597c82073f6bb65129c68f72b651db5b9efd82e11547d07350214bc268b",
    "1cee58eb1f2d9c7ebb254d208a03c783ce6cf2c4d8c2cf45e235dd23b4ce1b29",
    "e3111a2fd4da24af15d6459ef9eacfe54106b38e27b4a21821b75c3f5d2d5baf",
    "1071c68372cc5a01435c2c225a5cf7d4bb803846ec08bb6b3d6721b156d7cb96",
)


@dataclass(frozen=True)
class Kodak:
    """Download the Kodak pictures, or take them from a folder, and check them."""

    output: Annotated[str, arg(aliases=["-o"], metavar="DIR")]
    """Where kodim01.png ... kodim24.png go."""
    from_dir: str | None = None
    """A folder that has the pictures; nothing is downloaded."""
    images: tuple[int, ...] = tuple(range(1, 25))
    """Numbers of the pictures, 1 to 24."""
    url: str = ADDRESS
    """Where the pictures are."""


def main(args: Kodak) -> None:
    """Puts the pictures into the folder."""
    wrong = [number for number in args.images if not 1 <= number <= len(SHA256)]
    if wrong:
        raise UsageError(f"there is no picture {wrong[0]}; they are 1 to {len(SHA256)}")
    folder = Path(args.output)
    for number in args.images:
        name = f"kodim{number:02d}.png"
        picture = RemoteFile(name, (args.url + name,), SHA256[number - 1])
        place(fetch(picture, folder, args.from_dir), folder / name)
    say(f"{folder}: {len(args.images)} pictures, checked")


if __name__ == "__main__":
    sys.exit(run_script(main, Kodak))
