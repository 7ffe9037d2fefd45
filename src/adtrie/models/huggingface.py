"""Reader of Hugging Face model folders: config.json, tokenizer files, one or many safetensors files.

Runs no code of the folder, reads no pickle, follows no path out of the folder. Knows no model family.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adtrie.errors import FormatError, ModelError, TokenizerError
from adtrie.format.binary_file import BinaryFile
from adtrie.format.json_text import parse_json_object
from adtrie.models.safetensors_file import SafetensorsFile
from adtrie.models.tokenizer import Tokenizer

MAX_CONFIG_BYTES = 1 << 20
MAX_TOKENIZER_BYTES = 64 << 20
MAX_SHARDS = 1024

_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


class ModelFolder:
    """An open folder: `config` (the object in config.json), `tokenizer()` and tensors. Close it after use."""

    def __init__(self, path: Path) -> None:
        """Reads config.json and all safetensors headers. Raises ModelError or FormatError."""
        self.path = path
        self.config = self._json("config.json", MAX_CONFIG_BYTES)
        self._shards: dict[str, SafetensorsFile] = {}
        self._shard_of: dict[str, SafetensorsFile] = {}

    def open_weights(self) -> None:
        """Opens the safetensors files and checks that index and files agree."""
        try:
            if self._exists(_SINGLE):
                self._open_shard(_SINGLE)
            elif self._exists(_INDEX):
                self._open_index()
            else:
                raise self._no_weights()
        except BaseException:
            self.close()
            raise

    def _exists(self, name: str) -> bool:
        return (self.path / name).exists()

    def _no_weights(self) -> ModelError:
        pickles = sorted(entry.name for entry in self.path.iterdir() if entry.suffix in _PICKLES)
        if pickles:
            return ModelError(
                f"{self.path}: only pickle weights ({pickles[0]}), which can run code when read, so they are "
                "refused; where you trust them, convert them with save_pretrained(safe_serialization=True)"
            )
        return ModelError(f"{self.path}: no {_SINGLE} and no {_INDEX}; expected a Hugging Face model folder")

    def _open_shard(self, name: str) -> SafetensorsFile:
        shard = SafetensorsFile(self._inside(name))
        self._shards[name] = shard
        for tensor in shard.shapes():
            if tensor in self._shard_of:
                raise FormatError(
                    f"{self.path}: tensor {tensor!r} is in two files; the checkpoint is damaged"
                )
            self._shard_of[tensor] = shard
        return shard

    def _open_index(self) -> None:
        where = self.path / _INDEX
        weight_map = self._json(_INDEX, MAX_TOKENIZER_BYTES).get("weight_map")
        if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
            raise FormatError(f"{where}: 'weight_map' must map tensor names to file names")
        files = sorted(set(weight_map.values()))
        if len(files) > MAX_SHARDS:
            raise FormatError(f"{where}: {len(files)} files, at most {MAX_SHARDS} are supported")
        for name in files:
            shard = self._open_shard(name)
            listed = {tensor for tensor, file in weight_map.items() if file == name}
            odd = sorted(listed ^ set(shard.shapes()))
            if odd:
                kind = "missing from" if odd[0] in listed else "not listed for"
                raise FormatError(f"{where}: tensor {odd[0]!r} is {kind} {name}; fetch the folder again")

    def _inside(self, name: str) -> Path:
        """The path of file `name` directly in this folder, also after following links."""
        path = self.path / name
        if name != Path(name).name or "\0" in name or "\\" in name or name in ("", ".."):
            raise FormatError(
                f"{self.path}: file name {name!r:.100} leaves the folder; expected a plain file name"
            )
        try:
            real, folder = path.resolve(strict=True), self.path.resolve(strict=True)
        except (OSError, RuntimeError):
            raise ModelError(f"{path}: file is missing; fetch the whole folder again") from None
        # The hub's cache keeps snapshots/<revision>/ full of links to ../../blobs/.
        blobs = folder.parent.parent / "blobs" if folder.parent.name == "snapshots" else folder
        if real.parent not in (folder, blobs):
            raise FormatError(
                f"{path}: is a link out of the folder (to {real}); copy the file into the folder"
            )
        return path

    def _bytes(self, name: str, limit: int) -> bytes:
        file = BinaryFile(self._inside(name))
        try:
            if file.size > limit:
                raise FormatError(f"{file.path}: {file.size} bytes, at most {limit} are accepted")
            return file.read(0, file.size, name)
        finally:
            file.close()

    def _json(self, name: str, limit: int) -> dict[str, Any]:
        return parse_json_object(self._bytes(name, limit), str(self.path / name))

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Row-major shape by tensor name, all files together."""
        return {name: shape for shard in self._shards.values() for name, shape in shard.shapes().items()}

    def stored(self) -> dict[str, tuple[str, int]]:
        """Type and bytes of each tensor, all files together."""
        return {name: kind for shard in self._shards.values() for name, kind in shard.stored().items()}

    def read(self, name: str) -> NDArray[np.float32]:
        """Tensor `name` as float32."""
        return self._shard_of[name].read(name)

    def fingerprint(self) -> str:
        """sha256 hex over config.json and the fingerprints of all weight files."""
        digest = hashlib.sha256(self._bytes("config.json", MAX_CONFIG_BYTES))
        for name, shard in sorted(self._shards.items()):
            digest.update(f"{name} {shard.fingerprint()}\n".encode())
        return digest.hexdigest()

    def tokenizer(self) -> Tokenizer:
        """The tokenizer of tokenizer.json. Raises TokenizerError when it is missing or damaged."""
        where = str(self.path / "tokenizer.json")
        if not self._exists("tokenizer.json"):
            raise TokenizerError(
                f"{where}: file is missing; save the fast tokenizer of the model into the folder"
            )
        try:
            definition = self._json("tokenizer.json", MAX_TOKENIZER_BYTES)
        except FormatError as error:
            raise TokenizerError(str(error)) from None
        settings = {}
        if self._exists("tokenizer_config.json"):
            settings = self._json("tokenizer_config.json", MAX_TOKENIZER_BYTES)
        eos = self._control_token("eos_token", settings, definition)
        if eos is None:
            raise TokenizerError(f"{where}: no end-of-text token; name eos_token in tokenizer_config.json")
        bos = self._control_token("bos_token", settings, definition)
        add_bos = settings.get("add_bos_token")
        if add_bos is not None and type(add_bos) is not bool:
            raise TokenizerError(f"{self.path}: add_bos_token is {add_bos!r:.40}, expected true or false")
        return Tokenizer(definition, where, eos=eos, bos=bos, add_bos=add_bos)

    def _control_token(self, key: str, settings: dict[str, Any], definition: dict[str, Any]) -> int | None:
        """Id of a control token: as tokenizer_config.json names it, else as config.json numbers it."""
        if key in settings:
            entry = settings[key]
            content = entry.get("content") if isinstance(entry, dict) else entry
            return None if content is None else self._token_id(key, content, definition)
        token = self.config.get(f"{key}_id")
        if isinstance(token, list) and token:
            token = token[0]
        if token is not None and type(token) is not int:
            raise TokenizerError(
                f"{self.path}: {key}_id in config.json is {token!r:.40}, expected an integer"
            )
        return token

    def _token_id(self, key: str, content: Any, definition: dict[str, Any]) -> int:
        model = definition.get("model")
        vocab = model.get("vocab") if isinstance(model, dict) else None
        added = definition.get("added_tokens") or []
        ids = dict(vocab) if isinstance(vocab, dict) else {}
        for entry in added if isinstance(added, list) else []:
            if isinstance(entry, dict) and isinstance(entry.get("content"), str):
                ids[entry["content"]] = entry.get("id")
        token = ids.get(content) if isinstance(content, str) else None
        if type(token) is not int:
            raise TokenizerError(f"{self.path}: {key} {content!r:.60} is not a token of tokenizer.json")
        return token

    def close(self) -> None:
        """Closes all weight files."""
        for shard in self._shards.values():
            shard.close()
