"""The loop that one would write first: one picture after the other, with the usual packages. live.py runs it too.

    python benchmarks/naive.py ENDPOINT ACCESS_KEY SECRET_KEY BUCKET

For each object HEAD, GET, decode at full size, resize, classify with the bundled model, and a self-copy with new
metadata. No events, no index, no safeguard against a write in between. Takes up to a hundred pictures, and prints how
many, seconds and CPU seconds.
"""

from __future__ import annotations

import sys
import time
from io import BytesIO
from itertools import islice
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from minio import Minio
from minio.commonconfig import REPLACE, CopySource
from PIL import Image

import imgtag_tflite

BUNDLED = Path(imgtag_tflite.__file__).parent / "bundled"
BEST = 5
PICTURES = 100


def main(endpoint: str, access_key: str, secret_key: str, bucket: str) -> None:
    store = Minio(urlsplit(endpoint).netloc, access_key, secret_key, secure=endpoint.startswith("https:"))
    interpreter = Interpreter(model_path=str(next(BUNDLED.glob("*.tflite"))))
    interpreter.allocate_tensors()
    (given,), (wanted, *_) = interpreter.get_input_details(), interpreter.get_output_details()
    _, height, width, _ = given["shape"]
    keys = [item.object_name for item in islice(store.list_objects(bucket, recursive=True), PICTURES)]
    start, cpu = time.perf_counter(), time.process_time()
    for key in keys:
        head = store.stat_object(bucket, key)
        answer = store.get_object(bucket, key)
        try:
            body = answer.read()
        finally:
            answer.close()
            answer.release_conn()
        with Image.open(BytesIO(body)) as picture:
            pixels = np.asarray(picture.convert("RGB").resize((width, height)))
        interpreter.set_tensor(given["index"], pixels[np.newaxis].astype(given["dtype"]))
        interpreter.invoke()
        scores = interpreter.get_tensor(wanted["index"])[0]
        labels = {f"label-{number}": str(scores[number]) for number in np.argsort(-scores.astype(float))[:BEST]}
        user = {name: value for name, value in head.metadata.items() if name.lower().startswith("x-amz-meta-")}
        metadata = {**user, **labels, "Content-Type": head.content_type}
        store.copy_object(bucket, key, CopySource(bucket, key), metadata=metadata, metadata_directive=REPLACE)
    print(len(keys), time.perf_counter() - start, time.process_time() - cpu)


if __name__ == "__main__":
    main(*sys.argv[1:])
