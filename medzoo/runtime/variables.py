"""The environment variables of a model's process: a list of names, since any other may hold a
secret.
"""

from __future__ import annotations

import os
import site
from pathlib import Path

from .. import settings
from .._worker import memory, threads

LANGUAGE = (
    *("LANGUAGE", "LC_ALL", "LC_CTYPE", "LC_NUMERIC", "LC_TIME", "LC_COLLATE", "LC_MONETARY"),
    *("LC_MESSAGES", "LC_PAPER", "LC_NAME", "LC_ADDRESS", "LC_TELEPHONE", "LC_MEASUREMENT"),
    "LC_IDENTIFICATION",
)
THREADS = (
    *("OMP_NUM_THREADS", "OMP_DYNAMIC", "OMP_SCHEDULE", "OMP_PROC_BIND", "OMP_PLACES"),
    *("OMP_STACKSIZE", "OMP_WAIT_POLICY", "OMP_NESTED", "OMP_MAX_ACTIVE_LEVELS"),
    *("OMP_THREAD_LIMIT", "OMP_CANCELLATION", "OMP_DISPLAY_ENV", "GOMP_CPU_AFFINITY"),
    *("GOMP_STACKSIZE", "GOMP_SPINCOUNT", "KMP_AFFINITY", "KMP_BLOCKTIME", "KMP_SETTINGS"),
    *("KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK", "KMP_STACKSIZE", "KMP_WARNINGS"),
    *("KMP_HW_SUBSET", "KMP_TOPOLOGY_METHOD", "MKL_NUM_THREADS", "MKL_DYNAMIC", "MKL_CBWR"),
    *("MKL_DOMAIN_NUM_THREADS", "MKL_THREADING_LAYER", "MKL_INTERFACE_LAYER"),
    *("MKL_ENABLE_INSTRUCTIONS", "MKL_DEBUG_CPU_TYPE", "MKL_SERVICE_FORCE_INTEL"),
    *("OPENBLAS_NUM_THREADS", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "OPENBLAS_MAIN_FREE"),
    *("BLIS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "NUMEXPR_MAX_THREADS"),
    *("VECLIB_MAXIMUM_THREADS", "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA"),
    *("DNNL_MAX_CPU_ISA", "NUMBER_OF_PROCESSORS", "PROCESSOR_ARCHITECTURE"),
)
GPUS = (
    *("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "CUDA_HOME", "CUDA_PATH", "CUDA_CACHE_PATH"),
    *("CUDA_CACHE_DISABLE", "CUDA_CACHE_MAXSIZE", "CUDA_LAUNCH_BLOCKING", "CUDA_MODULE_LOADING"),
    *("CUDA_DEVICE_MAX_CONNECTIONS", "CUDA_FORCE_PTX_JIT", "CUDA_MPS_PIPE_DIRECTORY"),
    *("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "CUBLAS_WORKSPACE_CONFIG", "NVIDIA_TF32_OVERRIDE"),
    *("NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES", "ROCR_VISIBLE_DEVICES"),
    *("HIP_VISIBLE_DEVICES", "ROCM_PATH", "HIP_PATH", "HSA_OVERRIDE_GFX_VERSION"),
    *("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF", "PYTORCH_ENABLE_MPS_FALLBACK"),
)
OTHERS = ("TERM", "DYLD_LIBRARY_PATH", "PROGRAMFILES", "TORCH_HOME")
PASSED = settings.SYSTEM_VARIABLES.union(LANGUAGE, THREADS, GPUS, OTHERS)
OWN = {
    "PYTHONHASHSEED": "0",  # the order of a set of texts varies otherwise from process to process
    "PYTHONUTF8": "1",
    "MPLBACKEND": "Agg",  # no windows
    **memory.OF_A_PROCESS,
}


def environment(work: Path, visible: str | None, *, user_site: bool) -> dict[str, str]:
    """The variables of a model's process.

    Parameters
    ----------
    work
        Where its temporary files go.
    visible
        The CUDA devices that it may see, as ``CUDA_VISIBLE_DEVICES`` has it; the caller's if None.
    user_site
        Whether packages that the user installed for themselves are part of its interpreter.
    """
    variables = {n: value for n, value in os.environ.items() if n.upper() in PASSED}
    variables |= threads.choices(variables)
    variables |= dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(work)) | OWN
    if not (user_site and site.ENABLE_USER_SITE):
        variables["PYTHONNOUSERSITE"] = "1"
    if visible is not None:
        variables["CUDA_VISIBLE_DEVICES"] = visible
    return variables
