// Takes the place of the example's dial.go where it is compiled with Debian 12's grpc-go 1.33, which has neither
// grpc.NewClient nor the package insecure.
package connection

import (
	"log"

	"google.golang.org/grpc"
)

// Dial returns a connection whose calls wait for a server that is not there yet.
func Dial(endpoint string) *grpc.ClientConn {
	conn, err := grpc.Dial(endpoint, grpc.WithInsecure(), grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
	if err != nil {
		log.Fatal(err)
	}
	return conn
}
