"""The rivals as profiles: what the options refuse, and who is called."""

from types import SimpleNamespace

import numpy as np
import pytest

import sinr3d
from sinr3d.baselines import coin, coinpp, inric, profiles, shacira
from sinr3d.codec import header
from sinr3d.config import PROFILES, RIVALS, EncodeOptions
from sinr3d.errors import MissingFileError, UsageError


def test_a_file_can_name_every_profile() -> None:
    assert tuple(header.PROFILES) == PROFILES
    assert RIVALS == ("coin", "inric", "coinpp", "shacira")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"profile": "coin", "target_psnr": 30}, "targets need the profile rd; coin fixes its own rate"),
        ({"profile": "inric", "progressive": True}, "progressive files need the profile rd"),
        ({"profile": "coin", "prior": "a.prior"}, "a prior belongs to the profiles inric and coinpp"),
        ({"profile": "coinpp"}, "the profile coinpp needs the prior"),
        ({"profile": "paper", "bits": 8}, "bits belong to the profiles inric, coinpp and shacira"),
        ({"profile": "inric", "bits": 1}, "bits is 2 to 16, got 1"),
    ],
)
def test_options_that_make_no_sense_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        EncodeOptions(**settings)
    assert message in str(caught.value)


def test_a_missing_prior_is_named(picture: np.ndarray) -> None:
    with pytest.raises(MissingFileError, match=r"none\.prior"):
        sinr3d.encode(picture, profile="inric", prior="none.prior")


@pytest.mark.parametrize(
    ("profile", "module"), [("coin", coin), ("inric", inric), ("coinpp", coinpp), ("shacira", shacira)]
)
def test_each_profile_calls_its_rival(
    profile: str, module: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    monkeypatch.setattr(module, "encode", lambda *args: calls.append(args))
    options = EncodeOptions(profile=profile, prior="base.prior" if profile == "coinpp" else None)
    profiles.encode_signal("signal", options, None)
    assert calls == [("signal", options, None)]


def test_rivals_are_never_tuned() -> None:
    assert all(
        EncodeOptions(profile=name, prior="p" if name == "coinpp" else None).tune_steps == 0
        for name in RIVALS
    )
