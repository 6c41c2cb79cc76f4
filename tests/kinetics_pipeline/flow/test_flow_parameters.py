"""The names and ranges of TV-L1's parameters, and the choice of a backend."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.flow import BACKENDS, TVL1, require_backend, resolve_backend


def test_the_defaults_are_those_of_the_installed_opencv() -> None:
    cv2 = pytest.importorskip("cv2")
    if not hasattr(cv2, "optflow"):
        pytest.skip("OpenCV without contrib")
    opencv, ours = cv2.optflow.DualTVL1OpticalFlow_create(), TVL1()
    assert ours == TVL1(
        tau=opencv.getTau(),
        lambda_=opencv.getLambda(),
        theta=opencv.getTheta(),
        nscales=opencv.getScalesNumber(),
        warps=opencv.getWarpingsNumber(),
        epsilon=opencv.getEpsilon(),
        innerIterations=opencv.getInnerIterations(),
        outerIterations=opencv.getOuterIterations(),
        scaleStep=opencv.getScaleStep(),
        gamma=opencv.getGamma(),
        medianFiltering=opencv.getMedianFiltering(),
        useInitialFlow=opencv.getUseInitialFlow(),
    )


def test_opencvs_spellings_are_understood() -> None:
    assert TVL1.named(**{"lambda": 0.2, "innnerIterations": 7}) == TVL1(lambda_=0.2, innerIterations=7)
    assert TVL1.named(lambda_=0.2, innerIterations=7) == TVL1(lambda_=0.2, innerIterations=7)


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"lamda": 0.1}, "'lamda'; allowed: tau, lambda_"),
        ({"lambda": 0.1, "lambda_": 0.1}, "twice"),
        ({"tau": 0}, "tau is 0"),
        ({"lambda": float("nan")}, "lambda is nan"),
        ({"theta": "0.3"}, "theta is '0.3'"),
        ({"nscales": 0}, "nscales is 0"),
        ({"warps": 2.5}, "warps is 2.5"),
        ({"epsilon": -1}, "epsilon is -1"),
        ({"scaleStep": 1.0}, "scaleStep is 1.0"),
        ({"gamma": 0.5}, "gamma is 0.5"),
        ({"medianFiltering": 4}, "medianFiltering is 4"),
        ({"useInitialFlow": True}, "useInitialFlow is True"),
    ],
    ids=str,
)
def test_a_wrong_parameter_is_refused_by_name(parameters: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError) as refused:
        TVL1.named(**parameters)
    assert named in str(refused.value)
    assert "allowed" in str(refused.value) or "twice" in str(refused.value)


def test_an_unknown_backend_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UserError, match="'gpu'; allowed: auto, cpu, cuda, torch, opencv"):
        resolve_backend("gpu")


def test_named_backends_stay_and_auto_becomes_one_that_runs_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert [resolve_backend(name) for name in BACKENDS] == list(BACKENDS)
    assert resolve_backend("auto") in ("cpu", "cuda")
    require_backend(resolve_backend("auto"))


def test_importing_flow_brings_in_none_of_the_heavy_packages() -> None:
    heavy = "torch numba cv2 pandas pyarrow ray triton"
    code = f"import sys, kinetics_pipeline.flow; print(sorted(set({heavy.split()!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
