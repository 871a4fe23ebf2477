// Tail prints a file of Inkpot, and what is appended to it from then on.
//
//	go run ./tail ENDPOINT PATH      e.g. 127.0.0.1:7411 logs/app.log
package main

import (
	"context"
	"io"
	"os"
	"time"

	"inkpot.dev/connection"
	inkpotv1 "inkpot.dev/gen/inkpot/v1"
)

func main() {
	endpoint, path := os.Args[1], os.Args[2]
	service := inkpotv1.NewFileServiceClient(connection.Dial(endpoint))
	for offset := int64(0); ; {
		var err error
		if offset, err = follow(service, path, offset); err != nil {
			connection.PauseOrExit(err)
		} else {
			time.Sleep(250 * time.Millisecond) // the server has ended the read
		}
	}
}

// follow prints the file from offset on. It returns where to go on after an error.
func follow(service inkpotv1.FileServiceClient, path string, offset int64) (int64, error) {
	request := &inkpotv1.ReadRequest{Path: path, Offset: offset, Follow: true}
	pieces, err := service.Read(context.Background(), request)
	if err != nil {
		return offset, err
	}
	for {
		piece, err := pieces.Recv()
		if err == io.EOF {
			return offset, nil
		}
		if err != nil {
			return offset, err
		}
		os.Stdout.Write(piece.Data)
		offset = int64(piece.Offset) + int64(len(piece.Data))
	}
}
