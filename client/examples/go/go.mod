// go_package in the protos begins with this name, so the generated code is a package of this module. In a module of
// your own, let buf's managed mode put your prefix there: see ../../buf.gen.yaml.
module inkpot.dev

go 1.25

require (
	google.golang.org/genproto/googleapis/rpc v0.0.0-20260526163538-3dc84a4a5aaa
	google.golang.org/grpc v1.83.1
	google.golang.org/protobuf v1.36.11
)
