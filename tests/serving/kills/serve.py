"""One worker of the service as BentoML runs it, without the process that watches over it: half as long to start."""

import sys

import uvicorn

from serving.service import Overhaul

if __name__ == "__main__":
    uvicorn.run(Overhaul.to_asgi(), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
