// Append appends the lines of a text to a file of Inkpot, each exactly once, however often this program or the server
// dies.
//
//	go run ./append ENDPOINT PATH PRODUCER TEXT      e.g. 127.0.0.1:7411 logs/app.log app-7 app.log
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"os"

	"google.golang.org/grpc/status"
	"inkpot.dev/connection"
	inkpotv1 "inkpot.dev/gen/inkpot/v1"
)

func main() {
	endpoint, path, producer := os.Args[1], os.Args[2], os.Args[3]
	text, err := os.ReadFile(os.Args[4])
	if err != nil {
		log.Fatal(err)
	}
	lines := bytes.SplitAfter(text, []byte("\n"))
	if last := len(lines) - 1; len(lines[last]) == 0 {
		lines = lines[:last]
	}
	service := inkpotv1.NewWriteServiceClient(connection.Dial(endpoint))
	for {
		err := appendLines(service, path, producer, lines)
		if err == nil {
			return
		}
		connection.PauseOrExit(err)
	}
}

// appendLines is one session: it appends what the file does not have yet. It returns nil when all is acked.
func appendLines(service inkpotv1.WriteServiceClient, path, producer string, lines [][]byte) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	session, err := service.Write(ctx)
	if err != nil {
		return err
	}
	// Line n is seq n, in every life of this program: seqs are counted per epoch, so the epoch stays 1. A later Open with
	// the same epoch takes over from this one; a higher epoch would be for a text that begins anew.
	open := &inkpotv1.Open{Channel: 1, Path: path, ProducerId: producer, ProducerEpoch: 1}
	session.Send(&inkpotv1.WriteRequest{Frame: &inkpotv1.WriteRequest_Open{Open: open}}) // Recv tells if this failed
	for {
		response, err := session.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		switch frame := response.Frame.(type) {
		case *inkpotv1.WriteResponse_Opened:
			fmt.Printf("opened after line %d\n", frame.Opened.LastSeq)
			go send(session, lines, frame.Opened.LastSeq)
		case *inkpotv1.WriteResponse_Ack: // cumulative: it covers every line up to this one
			ack := frame.Ack
			fmt.Printf("acked through line %d: bytes %d to %d, %v\n",
				ack.ThroughSeq, ack.GetFirstOffset(), ack.GetEndOffset(), ack.Level)
		case *inkpotv1.WriteResponse_Nack:
			return status.ErrorProto(frame.Nack.Status)
		}
	}
}

// send sends the lines after lastSeq, no faster than the server reads.
func send(session inkpotv1.WriteService_WriteClient, lines [][]byte, lastSeq uint64) {
	for seq := lastSeq + 1; seq <= uint64(len(lines)); seq++ {
		line := &inkpotv1.Append{Channel: 1, Seq: seq, Payload: &inkpotv1.Payload{Data: lines[seq-1]}}
		if session.Send(&inkpotv1.WriteRequest{Frame: &inkpotv1.WriteRequest_Append{Append: line}}) != nil {
			return // the session has ended; Recv tells why
		}
	}
	finish := &inkpotv1.Finish{Channel: 1, Action: inkpotv1.FinishAction_FINISH_ACTION_COMMIT}
	session.Send(&inkpotv1.WriteRequest{Frame: &inkpotv1.WriteRequest_Finish{Finish: finish}})
	session.CloseSend()
}
