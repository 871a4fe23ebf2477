package connection

import (
	"fmt"
	"os"
	"time"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// PauseOrExit waits a moment after an error that passes by itself. It ends the program after any other, and says why.
func PauseOrExit(err error) {
	refusal := status.Convert(err)
	if refusal.Code() == codes.Unavailable || refusal.Code() == codes.Unknown {
		time.Sleep(250 * time.Millisecond)
		return
	}
	reason := ""
	for _, detail := range refusal.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			reason = info.Reason
		}
	}
	fmt.Fprintf(os.Stderr, "%v %s: %s\n", code.Code(refusal.Code()), reason, refusal.Message())
	os.Exit(1)
}
