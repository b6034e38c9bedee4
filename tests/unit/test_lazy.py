"""Packages whose names are imported when they are used."""

import subprocess
import sys
from importlib import import_module

import pytest

from mvsa_pipe import posts

PACKAGES = ["mvsa_pipe", "mvsa_pipe.posts", "mvsa_pipe.runs"]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_offered_name_is_there(package):
    room = import_module(package)
    assert set(room.__all__) <= set(dir(room))
    for name in room.__all__:
        assert getattr(room, name) is getattr(room, name)


@pytest.mark.parametrize("package", PACKAGES[1:])
def test_importing_a_package_imports_none_of_its_modules(package):
    code = (
        f"import sys, {package}\n"
        f"assert not [name for name in sys.modules if name.startswith('{package}.')]\n"
        f"getattr({package}, {package}.__all__[0])\n"
        f"assert [name for name in sys.modules if name.startswith('{package}.')]\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_other_names_are_refused_as_python_does():
    with pytest.raises(
        AttributeError, match=r"module 'mvsa_pipe.posts' has no attribute 'nothing'"
    ):
        posts.nothing  # noqa: B018
    with pytest.raises(ImportError, match=r"cannot import name 'nothing' from 'mvsa_pipe.posts'"):
        from mvsa_pipe.posts import nothing  # noqa: F401
