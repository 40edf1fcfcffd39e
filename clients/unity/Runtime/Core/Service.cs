using System;

namespace RLay
{
    /// <summary>One client of an EnvironmentServer, from its WELCOME to its goodbye.</summary>
    internal sealed class Service
    {
        private readonly EnvironmentServer owner;
        private readonly SlotSession session;
        private readonly DecisionReader reader;
        private readonly ReportWriter writer;
        private readonly Deadline deadline;
        private readonly Responder responder = new Responder();
        private readonly Draft draft = new Draft();
        private uint longSequence;
        private bool wasReset;
        private bool closing;

        public Service(EnvironmentServer owner, SlotSession session, Agreement agreement, bool records, StopFlag stop)
        {
            this.owner = owner;
            this.session = session;
            reader = new DecisionReader(agreement);
            writer = new ReportWriter(agreement, records);
            deadline = new Deadline(Deadline.Forever, stop);
        }

        /// <summary>Requests that were run.</summary>
        public long Requests { get; private set; }

        /// <summary>Answers requests until the client has said CLOSE.</summary>
        public void Serve()
        {
            while (!closing)
            {
                Message request;
                try
                {
                    request = session.Receive(deadline);
                }
                catch (ProtocolException error)
                {
                    RefuseUnreadable(error);
                    throw;
                }
                catch (MessageTooLargeException error)
                {
                    RefuseUnreadable(error);
                    throw;
                }
                uint sequence = request.Header.Sequence;
                switch (responder.Receive(sequence))
                {
                    case Outcome.Run:
                        Requests++;
                        Respond(request, sequence);
                        break;
                    case Outcome.Repeat:
                        session.Take();
                        if (longSequence == sequence) session.Send(draft, sequence, deadline);
                        else session.Repeat(sequence);
                        break;
                    case Outcome.Drop:
                        session.Take();
                        break;
                    default:
                        session.Take();
                        throw new ProtocolException("request " + sequence + " came after " + responder.Sequence);
                }
            }
        }

        private void Respond(Message request, uint sequence)
        {
            object action = null;
            ResetRequest reset = null;
            CallRequest call = null;
            try
            {
                NdArray mask;
                if (request.Kind == MessageKind.Step) action = reader.Step(request, out mask);
                else if (request.Kind == MessageKind.Reset) reset = reader.Reset(request);
                else if (request.Kind == MessageKind.Call) call = DecisionReader.Call(request);
                else if (request.Kind == MessageKind.Close) DecisionReader.Close(request);
                else throw new ProtocolException("a message came that is no request");
            }
            catch (ProtocolException error)
            {
                BreakOff(error, sequence);
                throw;
            }
            // Taken before it is run: who survives this end knows that it may have run.
            session.Take();
            try
            {
                if (reset != null) Reset(reset, sequence);
                else if (call != null) CallResult(owner.Description.Answer(call), sequence);
                else if (request.Kind == MessageKind.Close)
                {
                    closing = true;
                    CallResult(null, sequence);
                }
                else Step(action, sequence);
                session.CheckSize(draft);
            }
            catch (Exception error)
            {
                if (error is StoppedException) throw;
                Fail(error, sequence);
            }
            responder.Answer();
            longSequence = draft.IsLong ? sequence : 0;
            session.Send(draft, sequence, deadline);
        }

        private void Step(object action, uint sequence)
        {
            if (!wasReset) throw new RLayException(ErrorCode.ResetNeeded, "a step came before the first reset: call reset first");
            Transition transition = owner.Step(action);
            session.Begin(draft, MessageKind.Transition, sequence);
            writer.Transition(draft, transition.ToResult());
        }

        private void Reset(ResetRequest request, uint sequence)
        {
            First first = owner.Reset(request);
            wasReset = true;
            session.Begin(draft, MessageKind.ResetResult, sequence);
            writer.ResetResult(draft, first.Observation, first.Info ?? new Map());
        }

        private void CallResult(object value, uint sequence)
        {
            session.Begin(draft, MessageKind.CallResult, sequence);
            writer.CallResult(draft, value);
        }

        private void Fail(Exception error, uint sequence)
        {
            session.Begin(draft, MessageKind.Failure, sequence);
            Failures.Write(writer, draft, error);
        }

        /// <summary>Answers a request that cannot be read, so that its sender does not wait for nothing.</summary>
        private void BreakOff(RLayException why, uint sequence)
        {
            session.Take();
            Fail(why, sequence);
            responder.Answer();
            session.Send(draft, sequence, deadline);
        }

        private unsafe void RefuseUnreadable(RLayException why)
        {
            var word = (uint)*session.Incoming.Published;
            uint sequence = session.Incoming.Header(word & 1)->Sequence;
            if (responder.Receive(sequence) == Outcome.Run) BreakOff(why, sequence);
        }
    }

    /// <summary>What the algorithm is told of an exception.</summary>
    internal static class Failures
    {
        public static void Write(ReportWriter writer, Draft draft, Exception error)
        {
            var ours = error as RLayException;
            if (ours != null) writer.Failure(draft, (long)ours.Code, ours.GetType().Name, ours.Message, "");
            else writer.Failure(draft, (long)ErrorCode.Environment, error.GetType().Name, error.Message, error.ToString());
        }
    }
}
