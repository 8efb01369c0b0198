"""Uses every part of `PyCudaDriver` once; prints what it says. Run as a program, on the stub."""

from __future__ import annotations

import json
from typing import Any

from pag_ros.errors import BackendError
from pag_ros.kernels.gpu.store import CompiledKernel
from pag_ros.runtime.tensorrt.driver import OutOfMemoryError, PyCudaDriver

KERNEL = CompiledKernel("pag_stamp", 87, 16, ".version 8.4", b"", (3, 2, 1), 64, 512, 8, 0, False)


def main() -> None:
    told = {}
    driver = PyCudaDriver()
    with driver.active():
        try:
            host, mapped = driver.host_memory(1000)
            device = driver.device_memory(1000)
            told["mapped"] = mapped == host.ctypes.data
            launch = driver.load(KERNEL)
            host[:] = 7
            driver.upload(device, host)
            host[:] = 0
            driver.download(host, device)
            driver.synchronize()
            told["copied"] = host.tolist() == [7] * 1000
            told["address"] = device

            def frame(launch: Any = launch) -> None:
                launch([device])
                driver.upload(device, host)

            replay = driver.record(frame)
            replay()
            replay()
        except OutOfMemoryError as error:
            told["memory"] = str(error)
        except BackendError as error:
            told["error"] = str(error)
    driver.close()
    driver.close()
    print(json.dumps(told))


if __name__ == "__main__":
    main()
