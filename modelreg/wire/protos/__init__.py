"""The messages of the Open Inference Protocol over gRPC, made from ``open_inference.proto`` by ``tox -e protos``."""
