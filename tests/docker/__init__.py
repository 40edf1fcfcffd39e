"""The image and the compose files, run with a Docker engine; `make test-docker`."""
