// Upload uploads a local file to Inkpot, where it appears as a whole: before the end nobody sees any of it. However often
// this program or the server dies, it goes on where it was.
//
//	go run ./upload ENDPOINT PATH PRODUCER FILE      e.g. 127.0.0.1:7411 exports/july.csv export-7 july.csv
package main

import (
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"log"
	"os"

	"google.golang.org/grpc/status"
	"inkpot.dev/connection"
	inkpotv1 "inkpot.dev/gen/inkpot/v1"
)

func main() {
	endpoint, path, producer := os.Args[1], os.Args[2], os.Args[3]
	file, err := os.Open(os.Args[4])
	if err != nil {
		log.Fatal(err)
	}
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	size, err := io.Copy(sum, file)
	if err != nil {
		log.Fatal(err)
	}
	service := inkpotv1.NewWriteServiceClient(connection.Dial(endpoint))
	whole := content{file, uint64(size), sum.Sum32()}
	for {
		err := upload(service, path, producer, whole)
		if err == nil {
			return
		}
		connection.PauseOrExit(err)
	}
}

// content is what is uploaded; the server compares size and checksum with what it has before it publishes that.
type content struct {
	file   *os.File
	size   uint64
	crc32c uint32
}

// upload is one session: it sends what the server does not have yet. It returns nil when the file is published.
func upload(service inkpotv1.WriteServiceClient, path, producer string, whole content) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	session, err := service.Write(ctx)
	if err != nil {
		return err
	}
	// The producer is the name of the upload, and with its epoch that of the content: a file that has changed is another
	// upload, and needs another producer. MODE_REPLACE would take the place of a file that is there already.
	open := &inkpotv1.Open{
		Channel: 1, Path: path, Mode: inkpotv1.Mode_MODE_CREATE, ProducerId: producer, ProducerEpoch: 1,
	}
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
			fmt.Printf("opened at byte %d\n", frame.Opened.NextOffset)
			go send(session, whole, frame.Opened)
		case *inkpotv1.WriteResponse_Ack: // kept from now on; cumulative
			fmt.Printf("acked to byte %d, %v\n", frame.Ack.GetEndOffset(), frame.Ack.Level)
		case *inkpotv1.WriteResponse_Nack:
			return status.ErrorProto(frame.Nack.Status)
		case *inkpotv1.WriteResponse_Finished:
			fmt.Printf("published %d bytes\n", frame.Finished.Size)
		}
	}
}

// send sends what lies behind the bytes that the server has, no faster than it reads.
func send(session inkpotv1.WriteService_WriteClient, whole content, opened *inkpotv1.Opened) {
	chunk := make([]byte, opened.Limits.MaxRecordBytes)
	offset := int64(opened.NextOffset)
	for seq := opened.LastSeq + 1; offset < int64(whole.size); seq++ {
		n, err := whole.file.ReadAt(chunk, offset)
		if n == 0 {
			log.Fatal(err)
		}
		offset += int64(n)
		part := &inkpotv1.Append{Channel: 1, Seq: seq, Payload: &inkpotv1.Payload{Data: chunk[:n]}}
		if session.Send(&inkpotv1.WriteRequest{Frame: &inkpotv1.WriteRequest_Append{Append: part}}) != nil {
			return // the session has ended; Recv tells why
		}
	}
	// Of an upload that is published already this asks only whether it is.
	finish := &inkpotv1.Finish{
		Channel: 1, Action: inkpotv1.FinishAction_FINISH_ACTION_COMMIT, Size: &whole.size, Crc32C: &whole.crc32c,
	}
	session.Send(&inkpotv1.WriteRequest{Frame: &inkpotv1.WriteRequest_Finish{Finish: finish}})
	session.CloseSend()
}
