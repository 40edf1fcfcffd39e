using System;

namespace RLay
{
    public enum DecisionKind
    {
        Action,
        Reset,
        Close
    }

    /// <summary>What the algorithm says at a decision point.</summary>
    public sealed class Decision
    {
        public DecisionKind Kind { get; internal set; }

        /// <summary>Of an Action: an element of the action space, or whatever the algorithm sent.</summary>
        public object Action { get; internal set; }

        /// <summary>Of a Reset.</summary>
        public ResetRequest Reset { get; internal set; }

        /// <summary>Of a Close.</summary>
        public Reason Reason { get; internal set; }
    }

    /// <summary>A game that owns its loop asks for decisions: the other end of a ServerEnv.</summary>
    /// <remarks>
    /// <code>
    /// IDLE    Decide()                    -> Reset | Close           nothing is loaded yet
    /// RESET   Decide(first)               -> Action | Reset | Close  answers env.reset()
    /// RUN     Decide(transition)          -> Action | Reset | Close  answers env.step()
    ///           where a flag is set       -> Reset | Close, never Action
    /// any     Close                       -> IDLE; the next Decide waits for a trainer
    /// </code>
    /// Call it at each decision point, and at once when an episode ends. Report and Poll are its
    /// twin that does not block. There is no time-out: a trainer may compute for minutes; a wait
    /// ends when it is gone. All of it belongs to one thread.
    /// </remarks>
    public sealed class Backend : IDisposable
    {
        private enum Phase
        {
            Unconnected,
            Idle,
            Resetting,
            Running
        }

        private readonly EnvironmentDescription description;
        private readonly AttachOptions options;
        private readonly string name;
        private readonly Agreement agreement;
        private readonly DecisionReader reader;
        private readonly byte[] hello;
        private readonly Draft draft = new Draft();
        private Search search;
        private IClientEnd end;
        private SlotSession session;
        private ReportWriter writer;
        private Requester requester;
        private Exception broken;
        private Phase phase = Phase.Unconnected;
        private bool ended;
        private bool open = true;

        /// <summary>Looks for the trainer for options.ConnectTimeout seconds; later calls go on looking.</summary>
        public Backend(EnvironmentDescription description, AttachOptions options = null)
        {
            this.description = description;
            this.options = options ?? new AttachOptions();
            name = this.options.NameOrDefault();
            Facts facts = description.ToFacts();
            agreement = facts.Agree();
            reader = new DecisionReader(agreement);
            hello = new Greeting
            {
                Paradigm = Paradigm.ServerEnv, Environment = facts.Pack(), Capabilities = Capability.Own,
                MaxMessageBytes = this.options.MaxMessageBytes
            }.WriteHello();
            search = new Search(name, this.options, hello);
            if (this.options.ConnectTimeout <= 0) return;
            try
            {
                if (!Connect(new Deadline(this.options.ConnectTimeout, this.options.Stop), true))
                {
                    throw new RLayTimeoutException(search.Problem + ": start its trainer with rlay.ServerEnv('" + name + "') and the same RLAY_DIR");
                }
            }
            catch
            {
                Dispose();
                throw;
            }
        }

        /// <summary>Whether a trainer has taken this game in.</summary>
        public bool IsConnected
        {
            get { return end != null; }
        }

        /// <summary>What is in the way where there is no trainer yet, for messages.</summary>
        public string Problem
        {
            get { return IsConnected ? "" : search.Problem; }
        }

        /// <summary>At first and after a Close: waits for the next trainer, and what it says.</summary>
        public Decision Decide()
        {
            Report();
            return Poll(Deadline.Forever);
        }

        /// <summary>After a Reset: the first observation of the episode.</summary>
        public Decision Decide(First first)
        {
            Report(first);
            return Poll(Deadline.Forever);
        }

        /// <summary>After an Action: what it led to.</summary>
        public Decision Decide(Transition transition)
        {
            Report(transition);
            return Poll(Deadline.Forever);
        }

        /// <summary>At first and after a Close: that the game is there.</summary>
        public void Report()
        {
            CheckOpen();
            if (phase != Phase.Idle && phase != Phase.Unconnected) throw new MisuseException("an observation must be reported here");
            if (end == null) return;
            Send(MessageKind.Ready, delegate { writer.Ready(draft); });
        }

        public void Report(First first)
        {
            CheckPhase(Phase.Resetting, "the first observation follows a Reset");
            Send(MessageKind.ResetResult, delegate { writer.ResetResult(draft, first.Observation, first.Info ?? new Map()); });
        }

        public void Report(Transition transition)
        {
            CheckPhase(Phase.Running, "a transition follows an Action");
            Send(MessageKind.Transition, delegate { writer.Transition(draft, transition.ToResult()); });
            ended = transition.Terminated || transition.Truncated;
        }

        /// <summary>In place of a report: what went wrong. The trainer's call raises it; no Action follows.</summary>
        public void ReportFailure(Exception why)
        {
            CheckOpen();
            if (phase != Phase.Resetting && phase != Phase.Running) throw new MisuseException("a failure answers a Reset or an Action");
            Send(MessageKind.Failure, delegate { Failures.Write(writer, draft, why); });
            ended = true;
        }

        /// <summary>The decision upon the last report; null where there is none within so many seconds.</summary>
        /// <remarks>0 looks once and returns. What the trainer calls (frames, attributes, methods) is answered here.</remarks>
        public Decision Poll(double timeout = 0)
        {
            CheckOpen();
            var deadline = new Deadline(timeout, options.Stop);
            if (end == null && !Connect(deadline, timeout > 0)) return null;
            if (requester.Now == Requester.State.Idle)
            {
                if (phase != Phase.Idle) throw new MisuseException("nothing was reported: call Report first");
                Report();
            }
            try
            {
                if (broken != null) throw broken;
                while (true)
                {
                    Message reply;
                    if (!Receive(timeout > 0, deadline, out reply)) return null;
                    Decision decision = null;
                    switch (requester.Receive(reply.Header.Sequence))
                    {
                        case Outcome.Accept:
                            decision = Read(reply);
                            break;
                        case Outcome.Drop:
                            session.Take();
                            break;
                        default:
                            throw new ProtocolException("a decision came that nobody asked for");
                    }
                    if (decision != null) return decision;
                }
            }
            catch (PeerGoneException gone)
            {
                Leave(Reason.Closed);
                bool drains = gone.Closed && gone.Reason == Reason.Draining;
                return new Decision
                {
                    Kind = DecisionKind.Close, Reason = drains ? Reason.Draining : gone.Closed ? Reason.Closed : Reason.Vanished
                };
            }
            catch (RLayException error)
            {
                if (error is ProtocolException || error is MessageTooLargeException) Leave(Reason.ProtocolError);
                throw;
            }
        }

        /// <summary>Leaves the trainer. Twice is harmless.</summary>
        public void Close(Reason reason = Reason.Closed)
        {
            open = false;
            Leave(reason);
            search.Dispose();
        }

        public void Dispose()
        {
            Close();
        }

        private bool Receive(bool waits, Deadline deadline, out Message reply)
        {
            if (session.TryReceive(out reply)) return true;
            if (!waits)
            {
                try
                {
                    end.Check();
                }
                catch (PeerGoneException)
                {
                    // The trainer may have published, then gone: its last message counts.
                    if (session.TryReceive(out reply)) return true;
                    throw;
                }
                return false;
            }
            try
            {
                reply = session.Receive(deadline);
                return true;
            }
            catch (RLayTimeoutException)
            {
                return false;
            }
        }

        /// <summary>Looks for a trainer, once or until the time is up.</summary>
        private bool Connect(Deadline deadline, bool waits)
        {
            while (!search.Look(agreement, out end, out session))
            {
                deadline.ThrowIfStopped();
                if (!waits || deadline.IsOver) return false;
                search.Rest(deadline.SliceLeft);
            }
            writer = new ReportWriter(agreement, (end.PeerCapabilities & Protocol.CapabilityRecords) != 0);
            requester = new Requester();
            phase = Phase.Idle;
            ended = false;
            broken = null;
            return true;
        }

        /// <summary>Sends what a writer puts into the draft. Where the trainer is gone Poll says so.</summary>
        private void Send(MessageKind kind, Action write)
        {
            if (requester.Now == Requester.State.Waiting) throw new MisuseException("the last report has not been decided upon yet: call Poll");
            if (requester.Now != Requester.State.Idle) return;
            uint sequence = requester.Begin();
            try
            {
                session.Begin(draft, kind, sequence);
                write();
                session.CheckSize(draft);
            }
            catch
            {
                requester.Cancel();
                throw;
            }
            try
            {
                session.Send(draft, sequence, new Deadline(Deadline.Forever, options.Stop));
            }
            catch (RLayException error)
            {
                // Half a report is out: nothing more can be said in this session.
                requester.Lose();
                broken = error;
                if (error is StoppedException) throw;
            }
        }

        private Decision Read(Message reply)
        {
            var decision = new Decision();
            switch (reply.Kind)
            {
                case MessageKind.Step:
                    if (phase == Phase.Idle || ended) throw new ProtocolException("the trainer said Step where only Reset or Close may come");
                    NdArray mask;
                    decision.Action = reader.Step(reply, out mask);
                    phase = Phase.Running;
                    break;
                case MessageKind.Reset:
                    decision.Kind = DecisionKind.Reset;
                    decision.Reset = reader.Reset(reply);
                    phase = Phase.Resetting;
                    ended = false;
                    break;
                case MessageKind.Close:
                    decision.Kind = DecisionKind.Close;
                    decision.Reason = DecisionReader.Close(reply) == Reason.Draining ? Reason.Draining : Reason.Closed;
                    session.Take();
                    Leave(Reason.Closed);
                    return decision;
                case MessageKind.Call:
                    Answer(DecisionReader.Call(reply));
                    return null;
                default:
                    throw new ProtocolException("a message came that is no decision");
            }
            session.Take();
            return decision;
        }

        private void Answer(CallRequest call)
        {
            session.Take();
            try
            {
                object result = description.Answer(call);
                Send(MessageKind.CallResult, delegate { writer.CallResult(draft, result); });
            }
            catch (Exception error)
            {
                if (error is StoppedException) throw;
                Send(MessageKind.Failure, delegate { Failures.Write(writer, draft, error); });
            }
        }

        private void CheckOpen()
        {
            if (!open) throw new MisuseException("this backend is closed");
        }

        private void CheckPhase(Phase wanted, string rule)
        {
            CheckOpen();
            if (phase != wanted) throw new MisuseException(rule + "; nothing was sent");
        }

        private void Leave(Reason reason)
        {
            IClientEnd leaving = end;
            end = null;
            session = null;
            phase = Phase.Unconnected;
            ended = false;
            broken = null;
            if (leaving == null) return;
            leaving.Close(reason);
            search = new Search(name, options, hello);
        }
    }
}
